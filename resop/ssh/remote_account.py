"""Ask a login node who has just logged in: the account's number, canonical name and groups.

The answer comes from the user's own session, so a user can forge it. It is therefore never enough
to become somebody else: another name than the one typed at login counts only if sshd, too, accepts
the login under that name.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

import asyncssh

from resop.errors import IdentityUnknown, StepTimedOut
from resop.security.login_name import login_name_fault
from resop.ssh.channel_retry import run_in_turn
from resop.ssh.exec_channel import run_command_line
from resop.ssh.shell_refusal import LINGER, check_password_expired, refusal_reason, too_slow
from resop.steps.output import RawResult
from resop.steps.quoting import login_shell_script

TIME_LIMIT = 20.0
MAX_BYTES = 1 << 20
"""Output of start-up files and of `id` together."""

# By its path, in a shell of its own: no alias, function or PATH of the user replaces it by mistake.
# Each line begins with a random mark: whatever else is printed is no answer. Names of groups may
# contain spaces, so GNU's `id -z` is preferred. Its exit code is ignored: `id` also fails for a
# group without a name, and prints its number.
_SCRIPT = """\
for id in /usr/bin/id /bin/id /run/current-system/sw/bin/id /usr/local/bin/id; do
  [ ! -x "$id" ] || break
done
printf '%s\\n' "{mark} uid $("$id" -u)" "{mark} name $("$id" -un)"
echo "{mark} groups"; "$id" -Gnz 2>/dev/null; echo; "$id" -Gn 2>/dev/null; echo "{mark} end"
"""


@dataclass(frozen=True, slots=True)
class RemoteAccount:
    """An account as its cluster describes it."""

    username: str
    """The canonical name: that of the number, if several names share it."""
    uid: int
    groups: list[str]


async def fetch_account(connection: asyncssh.SSHClientConnection, cluster: str) -> RemoteAccount:
    """Return the account of a connection's user.

    Raises IdentityUnknown if the login node does not name it, PasswordExpired if it only lets the
    user set a new password, and what `run_command_line` raises.
    """
    mark = secrets.token_hex(8)
    line = login_shell_script(_SCRIPT.format(mark=mark))
    try:
        raw = await run_in_turn(
            connection,
            lambda: run_command_line(connection, line, None, TIME_LIMIT, MAX_BYTES, linger=LINGER),
        )
    except StepTimedOut as late:
        raise too_slow(late, TIME_LIMIT) from None
    check_password_expired(raw)
    output = raw.stdout
    uid = re.search(rb"%b uid (\d{1,10})\n" % mark.encode(), output)
    name = re.search(rb"%b name ([^\n]+)\n" % mark.encode(), output)
    groups = re.search(rb"%b groups\n(.*?)%b end\n" % ((mark.encode(),) * 2), output, re.DOTALL)
    if not (uid and name and groups):
        raise IdentityUnknown(_why(cluster, mark, raw))
    username = name[1].decode("utf-8", "replace")
    if fault := login_name_fault(username):
        raise IdentityUnknown(f"{cluster} calls this account {username!a}; a name {fault}")
    return RemoteAccount(username, int(uid[1]), _group_names(groups[1]))


def differs(cluster: str, username: str) -> IdentityUnknown:
    """Return the refusal of a login whose account has another name than the one typed."""
    return IdentityUnknown(f"{cluster} calls this account {username}: log in with that name")


def _why(cluster: str, mark: str, raw: RawResult) -> str:
    if mark.encode() in raw.stdout:
        return f"`id` on {cluster} does not name this account: ask the cluster's administrator"
    return (
        f"the password or key is accepted, but this account ran no command on {cluster}: "
        f"{refusal_reason(raw)}"
    )


def _group_names(output: bytes) -> list[str]:
    separated, _, spaced = output.partition(b"\n")
    names = separated.split(b"\0") if separated else spaced.split()
    return [name for each in names if (name := each.decode("utf-8", "replace").strip())]
