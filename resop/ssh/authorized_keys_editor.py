"""Add our key line to a user's authorized_keys over SSH, and remove it again.

The file is read, edited here, and replaced atomically if nobody has changed it meanwhile. It keeps
its mode, owner, group and ACL; a symbolic link is followed. Nothing is sent to a standard input,
which a start-up file may read.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncssh

from resop.errors import ClusterError, ResopError, StepTimedOut
from resop.ssh.authorized_keys import NodeClock
from resop.ssh.channel_retry import run_in_turn
from resop.ssh.exec_channel import run_command_line
from resop.ssh.home_folder import CD_HOME
from resop.ssh.shell_refusal import LINGER, check_password_expired, refusal_reason, too_slow
from resop.steps.output import RawResult
from resop.steps.quoting import login_shell_script

SCRIPT_TIMEOUT = 20.0
EDIT_TIMEOUT = 30.0
RETRY_PAUSE = 0.2
UTC_SINCE = (9, 1)
"""The version of OpenSSH from which sshd reads times in UTC."""

LOCKED, CHANGED, FOREIGN = 75, 76, 77  # exit codes of _WRITE

_FIND = f"""umask 077
PATH=$PATH:/usr/bin:/bin
{CD_HOME}
file=.ssh/authorized_keys
if [ -h "$file" ]; then file=$(readlink -f "$file") || exit; fi
"""

# Output of rc files comes before the marker, and is skipped. The TZ that they set is not sshd's.
# One of the offsets of January and July is that of standard time.
_READ = """printf '\\n%s\\n' {marker}
(
  unset TZ
  date +%s
  for month in 01 07; do
    date -d "$(date +%Y)-$month-15 12:00" +%z 2>/dev/null || date +%z
  done
)
if [ -e "$file" ]; then cksum <"$file" && cat "$file"; else echo absent; fi
"""

_WRITE = """mkdir -p .ssh || exit
lock=$file.resop-lock new=
tries=0
until error=$(LC_ALL=C mkdir "$lock" 2>&1); do
  case $error in *exists*) ;; *) echo "$error" >&2; exit 1 ;; esac
  # One program checks and removes it: between two, another login might renew it.
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
new=$(mktemp "$file.XXXXXX") && {{ {commands}; }} >"$new" || exit
[ "$(wc -c <"$new")" -eq {size} ] || exit
if [ -e "$file" ]; then
  # GNU's cp keeps an ACL as well; the others only know the mode.
  cp --attributes-only --preserve=all --no-preserve=timestamps "$file" "$new" 2>/dev/null ||
    chmod "$(stat -c %a "$file")" "$new" || exit
  owner=$(stat -c %u:%g "$file")
  [ "$owner" = "$(stat -c %u:%g "$new")" ] || chown "$owner" "$new" 2>/dev/null || exit 77
fi
mv -f "$new" "$file"
"""

CHANGING = "changing"
"""The state of a file that was replaced while it was read: the next attempt reads it again."""
Edit = Callable[[bytes, NodeClock], bytes]


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    state: str
    """The output of `cksum`, `absent`, or CHANGING."""
    clock: NodeClock


async def edit_authorized_keys(connection: asyncssh.SSHClientConnection, edit: Edit) -> None:
    """Replace the file's content by `edit(content, clock of the node)`.

    Raises ClusterError when the file cannot be read or written correctly, and PasswordExpired when
    the cluster only lets the user set a new password.
    """
    deadline = time.monotonic() + EDIT_TIMEOUT
    while True:
        before = await _read(connection)
        after = edit(before.content, before.clock)
        if after == before.content and before.state != CHANGING:
            return
        commands = "; ".join(_commands(before.content, after))
        done = await _run(
            connection,
            _WRITE.format(
                state=shlex.quote(before.state), size=len(after), commands=commands or ":"
            ),
        )
        if done.exit_code == 0:
            return
        if done.exit_code not in (CHANGED, LOCKED) or time.monotonic() > deadline:
            raise _error("written", done)
        await asyncio.sleep(RETRY_PAUSE * random.uniform(0.5, 1.5))


async def _run(connection: asyncssh.SSHClientConnection, script: str) -> RawResult:
    line = login_shell_script(_FIND + script)
    try:
        done = await run_in_turn(
            connection,
            lambda: run_command_line(connection, line, None, SCRIPT_TIMEOUT, linger=LINGER),
        )
    except StepTimedOut as fault:
        raise too_slow(fault, SCRIPT_TIMEOUT) from None
    check_password_expired(done)
    return done


def _commands(before: bytes, after: bytes) -> Iterator[str]:
    """Yield the commands that print `after`: a new beginning, then lines of the file."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    ranges: list[range] = []
    end = len(before)
    for line in reversed(old):
        start = end - len(line)
        if new and new[-1] == line:
            new.pop()
            if ranges and ranges[-1].start == end:
                ranges[-1] = range(start, ranges[-1].stop)
            else:
                ranges.append(range(start, end))
        end = start
    if new:
        octal = "".join(f"\\0{byte:03o}" for byte in b"".join(new))
        yield f"printf %b '{octal}'"
    for each in reversed(ranges):
        yield f'tail -c +{each.start + 1} "$file" | head -c {len(each)}'


async def _read(connection: asyncssh.SSHClientConnection) -> _File:
    marker = secrets.token_hex(8)
    done = await _run(connection, _READ.format(marker=marker))
    _, found, output = done.stdout.partition(f"\n{marker}\n".encode())
    if done.exit_code != 0 or not found or done.truncated:
        raise _error("read", done, bool(found))
    try:
        now, winter, summer, state, content = output.split(b"\n", 4)
        is_complete = state == b"absent" or int(state.split()[1]) == len(content)
        clock = NodeClock(
            datetime.fromtimestamp(int(now), UTC),
            min(_offset(winter), _offset(summer)),
            _reads_utc(connection),
        )
        return _File(content, state.decode() if is_complete else CHANGING, clock)
    except ValueError as fault:
        raise ClusterError(
            f"~/.ssh/authorized_keys cannot be read: unexpected output of date or cksum: {fault}"
        ) from None


def _offset(text: bytes) -> timedelta:
    offset = datetime.strptime(text.decode(), "%z").utcoffset()
    assert offset is not None
    return offset


def _reads_utc(connection: asyncssh.SSHClientConnection) -> bool:
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", connection.get_extra_info("server_version") or "")
    return version is not None and (int(version[1]), int(version[2])) >= UTC_SINCE


def _error(action: str, done: RawResult, ran: bool = True) -> ResopError:
    if not ran:
        reason = refusal_reason(done)
    elif done.exit_code == FOREIGN:
        reason = "it belongs to another user or group, which a replacement would change"
    elif done.exit_code == CHANGED:
        reason = "somebody else keeps changing it; try again"
    elif done.exit_code == LOCKED:
        reason = "another login is changing it (authorized_keys.resop-lock); try again in a minute"
    elif done.truncated:
        reason = "it is too large"
    else:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit code {done.exit_code}"
    return ClusterError(f"~/.ssh/authorized_keys cannot be {action}: {reason}")
