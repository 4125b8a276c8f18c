"""Read and change the settings of associations: fair share, limits, qualities of service.

sacctmgr(1), SPECIFICATIONS FOR USERS, describes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.associations import Fairshare, JobLimit, modify, undone_by
from resop import ErrorMessage, Shell

QosName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"),
    ErrorMessage("must be the name of a quality of service: letters, digits, '_', '.' and '-'"),
]
ResourceLimits = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z][A-Za-z0-9/:_.-]*=[0-9]+[KMGTP]?(,[a-z][A-Za-z0-9/:_.-]*=[0-9]+[KMGTP]?)*$",
        max_length=1024,
    ),
    ErrorMessage("must be resources with their limits, such as cpu=64,mem=256G,gres/gpu=4"),
]
ClearedName = Literal[
    "max_jobs", "max_submit_jobs", "max_wall", "max_resources", "group_resources", "default_qos"
]


class AssociationOptions(TypedDict, total=False):
    """Options of operations that create or change an association; what is not given stays."""

    fairshare: Fairshare | None
    max_jobs: Annotated[JobLimit | None, Field(description="maximum number of running jobs")]
    max_submit_jobs: Annotated[
        JobLimit | None, Field(description="maximum number of pending and running jobs")
    ]
    max_wall: Annotated[
        Annotated[int, Field(ge=60, le=2**31 - 1)] | None,
        Field(description="maximum time of a job in seconds; Slurm rounds to minutes"),
    ]
    max_resources: Annotated[
        ResourceLimits | None, Field(description="resources of one job: cpu=64,mem=256G,gres/gpu=4")
    ]
    group_resources: Annotated[
        ResourceLimits | None, Field(description="resources of all running jobs together")
    ]
    qos: Annotated[
        Annotated[list[QosName], Field(min_length=1)] | None,
        Field(description="all qualities of service that jobs may use"),
    ]
    default_qos: Annotated[
        QosName | None, Field(description="quality of service of jobs that name none")
    ]


WORDS = {
    "fairshare": ("fairshare", "share"),
    "max_jobs": ("maxjobs", "maxjobs"),
    "max_submit_jobs": ("maxsubmitjobs", "maxsubmit"),
    "max_wall": ("maxwall", "maxwall"),
    "max_resources": ("maxtres", "maxtres"),
    "group_resources": ("grptres", "grptres"),
    "qos": ("qoslevel", "qos"),
    "default_qos": ("defaultqos", "defaultqos"),
}
"""The words of sacctmgr that set each option, and the columns that show it."""
RESOURCES = ("max_resources", "group_resources")


def set_words(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the words that set the given ones of these options, by option."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: f"{WORDS[name][0]}={_text(name, value)}" for name, value in given.items()}


def clear_word(name: str, before: str) -> str:
    """Return the word that clears an option whose value was `before`."""
    if name in RESOURCES:
        none = ",".join(f"{resource}=-1" for resource in parsing.parse_tres(before))
        return f"{WORDS[name][0]}={none}"
    return f"{WORDS[name][0]}=-1"


def read_association(shell: Shell, user: str, account: str) -> dict[str, str]:
    """Return what a user's association sets, as sacctmgr shows it, by option."""
    columns = {name: shown for name, (_, shown) in WORDS.items()}
    where = (f"user={user}", f"account={account}")
    rows = listings.sacctmgr(shell, [*columns.values()], "associations", *where)
    if not rows:
        shell.fail(f"{user} is not in the Slurm account {account}")
    return {name: rows[0][shown] for name, shown in columns.items()}


def differences(before: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options that differ from what an association sets."""
    return {
        name: value
        for name, value in options.items()
        if value is not None and not _is_set(name, value, before[name])
    }


def change(
    shell: Shell, user: str, account: str, before: Mapping[str, str], words: Mapping[str, str]
) -> None:
    """Change an association; `words` are by option; registered to be undone."""
    association = ("modify", "user", "where", f"name={user}", f"account={account}", "set")
    undo = [word for name, new in words.items() for word in _former_words(name, before[name], new)]
    summary = f"set {' '.join(words.values())} of {user} in the Slurm account {account}"
    with undone_by(shell, *association, *undo):
        modify(shell, *association, *words.values(), summary=summary)


def default_account(shell: Shell, user: str) -> str | None:
    """Return the account that a user's jobs are charged to by default; None without one."""
    rows = listings.sacctmgr(shell, ["defaultaccount"], "user", f"name={user}")
    return rows[0]["defaultaccount"] or None if rows else None


def set_default_account(shell: Shell, user: str, account: str, before: str | None) -> None:
    """Set the account that a user's jobs are charged to by default; registered to be undone."""
    words = ("modify", "user", "where", f"name={user}", "set")
    with undone_by(shell, *words, f"defaultaccount={before or account}"):
        summary = f"make {account} the default Slurm account of {user}"
        modify(shell, *words, f"defaultaccount={account}", summary=summary)


def _former_words(name: str, before: str, new: str) -> list[str]:
    """Return the words that set an option to its former value."""
    if name in RESOURCES:
        former = parsing.parse_tres(before)
        added = [each for each in parsing.parse_tres(new.partition("=")[2]) if each not in former]
        values = ",".join(filter(None, [before, *(f"{each}=-1" for each in added)]))
        return [f"{WORDS[name][0]}={values}"] if values else []
    return [f"{WORDS[name][0]}={before}"] if before else [clear_word(name, before)]


def _text(name: str, value: Any) -> str:
    if name == "max_wall":
        return str(-(-value // 60))
    return ",".join(value) if isinstance(value, list) else str(value)


def _is_set(name: str, value: Any, shown: str) -> bool:
    if name in RESOURCES:
        return _resources(value).items() <= _resources(shown).items()
    if name == "qos":
        return {*map(str.lower, value)} == {*parsing.split_names(shown)}
    if name == "max_wall":
        return bool(parsing.parse_duration(shown) == -(-value // 60) * 60)
    return str(value).lower() == shown


def _resources(text: str) -> dict[str, int | None]:
    """Return limits as numbers; memory is in MiB unless there is a unit."""
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    return {
        name: parsing.parse_size(value, "M" if name == "mem" or name.startswith("bb/") else "B")
        for name, _, value in pairs
    }


class UserAssociation(TypedDict):
    """A user's settings in an account; None means that Slurm sets nothing there."""

    account: str
    is_default: bool
    fairshare: int | None
    max_jobs: int | None
    max_submit_jobs: int | None
    max_wall: int | None
    max_resources: str | None
    group_resources: str | None
    qos: list[str]
    default_qos: str | None


def associations_of(shell: Shell, user: str) -> list[UserAssociation]:
    """Return a user's accounts with what they set, in the words of AssociationOptions."""
    shown = {name: column for name, (_, column) in WORDS.items()}
    rows = listings.sacctmgr(shell, ["account", *shown.values()], "associations", f"user={user}")
    default = default_account(shell, user) if rows else None
    return [
        UserAssociation(
            account=row["account"],
            is_default=row["account"] == default,
            fairshare=parsing.parse_int(row["share"]),
            max_jobs=parsing.parse_int(row["maxjobs"]),
            max_submit_jobs=parsing.parse_int(row["maxsubmit"]),
            max_wall=parsing.parse_duration(row["maxwall"]),
            max_resources=row["maxtres"] or None,
            group_resources=row["grptres"] or None,
            qos=parsing.split_names(row["qos"]),
            default_qos=row["defaultqos"] or None,
        )
        for row in rows
    ]
