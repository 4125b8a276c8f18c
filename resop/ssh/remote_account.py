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

from resop.errors import IdentityUnknown
from resop.security.login_name import login_name_fault
from resop.ssh.exec_channel import run_command_line
from resop.steps.quoting import login_shell_script

TIME_LIMIT = 20.0
MAX_BYTES = 1 << 20
"""Output of start-up files and of `id` together."""
MAX_SHOWN = 200

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

    Raises IdentityUnknown if the login node does not name it, and what `run_command_line` raises.
    """
    mark = secrets.token_hex(8)
    line = login_shell_script(_SCRIPT.format(mark=mark))
    raw = await run_command_line(connection, line, None, TIME_LIMIT, MAX_BYTES)
    output = raw.stdout
    uid = re.search(rb"%b uid (\d{1,10})\n" % mark.encode(), output)
    name = re.search(rb"%b name ([^\n]+)\n" % mark.encode(), output)
    groups = re.search(rb"%b groups\n(.*?)%b end\n" % ((mark.encode(),) * 2), output, re.DOTALL)
    if not (uid and name and groups):
        raise IdentityUnknown(_why(cluster, mark, output or raw.stderr))
    username = name[1].decode("utf-8", "replace")
    if fault := login_name_fault(username):
        raise IdentityUnknown(f"{cluster} calls this account {username!a}; a name {fault}")
    return RemoteAccount(username, int(uid[1]), _group_names(groups[1]))


def differs(cluster: str, username: str) -> IdentityUnknown:
    """Return the refusal of a login whose account has another name than the one typed."""
    return IdentityUnknown(f"{cluster} calls this account {username}: log in with that name")


def _why(cluster: str, mark: str, output: bytes) -> str:
    if mark.encode() in output:
        return f"`id` on {cluster} does not name this account: ask the cluster's administrator"
    text = " ".join(output.decode("utf-8", "replace").split())[:MAX_SHOWN]
    printed = f" It printed: {ascii(text)[1:-1]}" if text else ""
    return (
        f"the password or key is accepted, but {cluster} ran another program than `id`: this "
        f"account may not run commands (a forced command, or its login shell).{printed}"
    )


def _group_names(output: bytes) -> list[str]:
    separated, _, spaced = output.partition(b"\n")
    names = separated.split(b"\0") if separated else spaced.split()
    return [name for each in names if (name := each.decode("utf-8", "replace").strip())]
