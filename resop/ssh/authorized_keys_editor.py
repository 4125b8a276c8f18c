"""Puts our key line into a user's authorized_keys and takes it off again, over SSH.

The file is read, edited here, and replaced atomically if nobody has changed it meanwhile; its
mode, owner and group are kept, a symbolic link is followed.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import asyncssh

from resop.errors import ClusterError, PasswordExpired, ResopError
from resop.ssh.authorized_keys import TIME_FORMAT
from resop.ssh.exec_channel import run_command_line
from resop.steps.output import RawResult
from resop.steps.quoting import login_shell_script

SECONDS = 20.0
EDIT_SECONDS = 30.0
PAUSE_SECONDS = 0.2

LOCKED, CHANGED, FOREIGN = 75, 76, 77  # exit codes of _WRITE

_FIND = """umask 077
cd || exit
file=.ssh/authorized_keys
if [ -h "$file" ]; then file=$(readlink -f "$file") || exit; fi
"""

# What rc files print comes before the marker, and is skipped.
_READ = """printf '\\n%s\\n' {marker}
date +%Y%m%d%H%M%S
if [ -e "$file" ]; then cksum <"$file" && cat "$file"; else echo absent; fi
"""

_WRITE = """mkdir -p .ssh || exit
lock=$file.resop-lock new=
tries=0
until said=$(LC_ALL=C mkdir "$lock" 2>&1); do
  case $said in *exists*) ;; *) echo "$said" >&2; exit 1 ;; esac
  # Looked at and taken away by one program: between two, somebody else might renew it.
  find "$lock" -maxdepth 0 -mmin +1 -delete 2>/dev/null
  tries=$((tries + 1))
  [ $tries -lt 50 ] || exit 75
  sleep 0.1
done
trap 'rmdir "$lock"; rm -f "$new"' EXIT
trap 'exit 143' TERM INT HUP
state=absent
[ -e "$file" ] && state=$(cksum <"$file")
[ "$state" = {state} ] || exit 76
new=$(mktemp "$file.XXXXXX") && cat >"$new" || exit
[ "$(wc -c <"$new")" -eq {size} ] || exit
if [ -e "$file" ]; then
  chmod "$(stat -c %a "$file")" "$new" || exit
  owner=$(stat -c %u:%g "$file")
  [ "$owner" = "$(stat -c %u:%g "$new")" ] || chown "$owner" "$new" 2>/dev/null || exit 77
fi
mv -f "$new" "$file"
"""

Edit = Callable[[bytes, datetime], bytes]


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    state: str
    """What `cksum` says of it, or `absent`."""
    now: datetime
    """The login node's local time."""


async def edit_authorized_keys(connection: asyncssh.SSHClientConnection, edit: Edit) -> None:
    """Replace the file's content by `edit(content, local time of the node)`.

    Raises ClusterError when the file cannot be read or written as it has to be, PasswordExpired
    when the cluster lets the user in for nothing but a new password.
    """
    deadline = time.monotonic() + EDIT_SECONDS
    while True:
        before = await _read(connection)
        after = edit(before.content, before.now)
        if after == before.content:
            return
        script = _FIND + _WRITE.format(state=shlex.quote(before.state), size=len(after))
        done = await run_command_line(connection, login_shell_script(script), after, SECONDS)
        if done.exit_code == 0:
            return
        if done.exit_code not in (CHANGED, LOCKED) or time.monotonic() > deadline:
            raise _cannot("written", done)
        await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))


async def _read(connection: asyncssh.SSHClientConnection) -> _File:
    marker = secrets.token_hex(8)
    script = _FIND + _READ.format(marker=marker)
    done = await run_command_line(connection, login_shell_script(script), None, SECONDS)
    _, found, answer = done.stdout.partition(f"\n{marker}\n".encode())
    if done.exit_code != 0 or not found or done.truncated:
        raise _cannot("read", done)
    try:
        now, state, content = answer.split(b"\n", 2)
        return _File(content, state.decode(), datetime.strptime(now.decode(), TIME_FORMAT))
    except ValueError as fault:
        raise ClusterError(
            f"~/.ssh/authorized_keys cannot be read: date or cksum answered oddly: {fault}"
        ) from None


def _cannot(what: str, done: RawResult) -> ResopError:
    # sshd lets it in by the password method, to change it on a terminal and do nothing else.
    if b"Password change required" in done.stderr:
        return PasswordExpired()
    if done.exit_code == FOREIGN:
        reason = "it belongs to another user or group, which a replacement would change"
    elif done.exit_code == CHANGED:
        reason = "somebody else keeps changing it; try again"
    elif done.exit_code == LOCKED:
        reason = "another login is at it (authorized_keys.resop-lock); try again in a minute"
    elif done.truncated:
        reason = "it is too large"
    else:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said[-1] if said else f"exit code {done.exit_code}"
    return ClusterError(f"~/.ssh/authorized_keys cannot be {what}: {reason}")
