"""Change accounts and associations (a user's membership of an account) with sacctmgr(1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from operators.slurm import listings, parsing
from operators.slurm.administrators import check_rights, not_permitted
from operators.slurm.client import CONNECTION_BROKEN, Preparation, ask, launcher
from resop import CommandFailed, ContactLost, ErrorMessage, OperationFailed, Result, Shell

# The third since 23.11, and where DisableCoordDBD is set.
PERMISSION_DENIED = r"Access/permission denied|doesn't have privilege|\b[Oo]nly admins\b"
PLANNED = "Slurm account"
"""The kind of accounts in `Shell.planned`."""
UNKNOWN_ACCOUNT = (
    r"account '([^']*)' doesn't exist|No account (\S+) on cluster|No parent account '([^']*)' on"
)
UNKNOWN_QOS = r"bad (?:default )?qos '([^']*)'"

NOTHING_CHANGED = ("Nothing deleted", "Nothing modified")
"""Messages of sacctmgr if it finds nothing to change."""

# Of two transactions that change associations at the same time, MariaDB may roll one back, and
# slurmdbd repeats only its last statement: sacctmgr then reports success for an association that
# does not exist, and after ten repeats slurmdbd ends. So each change from one login node waits for
# the one before it, but not forever. Any local file that everybody can read can be locked; the lock
# ends with sacctmgr.
ONE_AT_A_TIME: Preparation = (
    """\
if [ -d /run ] && command -v flock >/dev/null; then
  exec 9</run
  flock -w 50 9
fi
""",
    (),
)

AccountName = Annotated[
    str,
    # Lower case, since Slurm stores names so; a comma or '=' would be special to sacctmgr.
    StringConstraints(pattern=r"^[a-z0-9_][a-z0-9_.-]{0,63}$"),
    ErrorMessage(
        "must be an account's name: up to 64 of a-z, 0-9, '_', '.' and '-', "
        "beginning with a letter, a digit or '_'"
    ),
    Field(description="Slurm account"),
]
Fairshare = Annotated[
    int, Field(ge=0, le=2**31 - 1, description="fair-share weight, relative to its siblings")
]
JobLimit = Annotated[int, Field(ge=0, le=2**31 - 1)]


def modify(shell: Shell, *words: str, summary: str = "") -> Result:
    """Have sacctmgr make a change without asking for confirmation; `summary` says it in words.

    An exit code of 1 without an error message also means that nothing changed. Raises NotPermitted
    if the user is not a Slurm administrator; OperationFailed for an account to add to, or a quality
    of service, that does not exist; DaemonUnavailable; ContactLost if the change may have been
    made; CommandFailed with sacctmgr's message for any other failure.
    """
    if shell.dry_run:
        _check(shell, words)
    summary = summary or " ".join(words)
    result = ask(
        shell,
        *_argv(*words),
        changes=True,
        check=False,
        prepare=ONE_AT_A_TIME,
        summary=summary,
    )
    said = result.stderr.strip() or result.stdout  # where 23.11 and newer have some reasons
    messages = [line.strip(" .") for line in said.splitlines() if line.strip()]
    if result.exit_code == 0:
        return result
    if re.search(PERMISSION_DENIED, result.stderr):
        raise not_permitted(shell)
    failure = result.failure()
    if found := re.search(UNKNOWN_ACCOUNT, said):
        raise _unknown_account(next(filter(None, found.groups())), **failure.details)
    if found := re.search(UNKNOWN_QOS, said):
        raise _unknown_qos(found[1], **failure.details)
    if re.search(CONNECTION_BROKEN, result.stderr):
        raise ContactLost(f"sacctmgr lost slurmdbd: {messages[-1]}", **failure.details)
    if not messages:
        raise failure
    raise CommandFailed(f"sacctmgr: {'; '.join(messages)}", **failure.details)


def _check(shell: Shell, words: Sequence[str]) -> None:
    """Raise in a dry run what Slurm would refuse, as far as can be seen."""
    pairs = [word.split("=", 1) for word in words if "=" in word]
    accounts = [value for name, value in pairs if name in ("account", "parent")]
    for account in accounts if words[0] == "add" else ():
        if not has_account(shell, account):
            raise _unknown_account(account)
    _check_qos(shell, dict(pairs))
    check_rights(shell, accounts)


def _check_qos(shell: Shell, values: Mapping[str, str]) -> None:
    """Raise OperationFailed for a quality of service that Slurm does not have."""
    named = [values.get(word, "") for word in ("qoslevel", "defaultqos")]
    wanted = [name for name in ",".join(named).split(",") if name not in ("", "-1")]
    known = {row["name"] for row in listings.sacctmgr(shell, ["name"], "qos")} if wanted else {}
    for name in wanted:
        if name.lower() not in known:
            raise _unknown_qos(name)


def _unknown_account(account: str, **details: Any) -> OperationFailed:
    return OperationFailed(f"Slurm has no account {account}", **details)


def _unknown_qos(name: str, **details: Any) -> OperationFailed:
    return OperationFailed(f"Slurm has no quality of service {name}", **details)


def undone_by(shell: Shell, *words: str) -> AbstractContextManager[None]:
    """Register the change that undoes the one made in the context."""
    return shell.undone_by(
        *_argv(*words),
        launcher=launcher(shell, prepare=ONE_AT_A_TIME),
        what=_in_words(words),
        where="Slurm's accounting",
        absent=NOTHING_CHANGED,
    )


def accounts_of(shell: Shell, user: str, account: str | None = None) -> dict[str, int | None]:
    """Return a user's accounts, each with the user's own MaxSubmitJobs there (None: no limit).

    MaxSubmitJobs limits pending and running jobs together. With `account`, only that one.
    """
    where = [f"user={user}", *([f"account={account}"] if account else [])]
    rows = listings.sacctmgr(shell, ["account", "maxsubmitjobs"], "associations", *where)
    return {row["account"]: parsing.parse_int(row["maxsubmitjobs"]) for row in rows}


def has_account(shell: Shell, account: str) -> bool:
    """Return True if Slurm has an account of that name."""
    if (PLANNED, account) in shell.planned:
        return True
    return bool(listings.sacctmgr(shell, ["account"], "account", f"name={account}"))


def _in_words(words: Sequence[str]) -> str:
    """Return what a change does: "delete user ada account project9"."""
    shown = [word.removeprefix("name=").replace("=", " ") for word in words if word != "where"]
    return " ".join(shown)


def _argv(*words: str) -> tuple[str, ...]:
    return ("sacctmgr", "--immediate", *words)
