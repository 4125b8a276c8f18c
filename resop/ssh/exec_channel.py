"""One remote command over one SSH exec channel: its streams, its end, its time limit."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

import asyncssh

from resop.errors import (
    ClusterError,
    ClusterUnreachable,
    ContactLost,
    ResopError,
    StepTimedOut,
    TaskCancelled,
)
from resop.limits import OUTPUT_LIMIT
from resop.ssh.asyncssh_workarounds import AbandonableSession, abandon, open_session
from resop.steps.output import OutputCallback, RawResult
from resop.steps.quoting import login_shell_script

GRACE_SECONDS = 3.0
"""The time from TERM to KILL, and from KILL until the end counts as not seen."""
SCRIPT_TIMEOUT = 3.0
SIGNALS = {each.name.removeprefix("SIG"): each.value for each in signal.Signals}
"""Signal numbers by name: RFC 4254 (6.10) sends names without SIG."""

# sshd signals a process group only while its leader, the login shell, lives. If TERM ends the
# shell before one of its children, sshd has forgotten the group. So the shells of this connection
# are listed before and after, and the remaining processes of the missing shell are killed by their
# session: tcsh moves background jobs into process groups other than its own.
_LIST_SHELLS = """echo shells:
ps -A -o pid= -o ppid= | while read -r process parent; do
  [ "$parent" != "$PPID" ] || [ "$process" = "$$" ] || echo "$process"
done
echo all
"""
_KILL_REMAINING = """left() {{
  ps -A -o sid= -o pid= -o stat= | while read -r session process state; do
    case "$session $state" in "$1 Z"*) ;; "$1 "*) echo "$process" ;; esac
  done
}}
some=
for shell in {gone}; do [ -z "$(left "$shell")" ] || some="$some $shell"; done
set -- $some
# Another step ended at the same moment and left processes on purpose: nobody knows whose they are.
[ $# -le 1 ] || exit 1
tries=0
while [ $# -eq 1 ] && processes=$(left "$1") && [ -n "$processes" ]; do
  [ $((tries += 1)) -le 10 ] || exit 1
  kill -s KILL $processes 2>/dev/null
  sleep 0.05
done
echo nothing is left
"""

# End one step of a connection at a time: then one missing shell is that step's.
_end_locks: WeakKeyDictionary[asyncssh.SSHClientConnection, asyncio.Lock] = WeakKeyDictionary()


class ChannelRefused(ClusterUnreachable):
    """The login node opened no channel; nothing was sent."""


class ExecSession(AbandonableSession):
    """Collects the output and the exit status of a command."""

    def __init__(
        self, max_output: int = OUTPUT_LIMIT, on_output: OutputCallback | None = None
    ) -> None:
        super().__init__()
        self._max_output = max_output
        self._on_output = on_output
        self.output = {None: bytearray(), asyncssh.EXTENDED_DATA_STDERR: bytearray()}
        self.truncated = False
        self.complete = False
        self.exit_code: int | None = None
        self.signal = ""
        self.exited = asyncio.Event()
        self.closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    @property
    def size(self) -> int:
        """The number of bytes collected from both streams."""
        return sum(map(len, self.output.values()))

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        output = self.output[datatype]
        room = self._max_output - len(output)
        output += data[:room]
        if self._on_output is not None and room:
            self._on_output(1 if datatype is None else 2, data[:room])
        self.truncated = self.truncated or len(data) > room

    def eof_received(self) -> bool:
        self.complete = True
        return True

    def exit_status_received(self, status: int) -> None:
        self.exit_code = status
        self.exited.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.signal = signal
        self.exit_code = 128 + SIGNALS.get(signal, 0)
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.exited.set()
        if not self.closed.done():
            self.closed.set_result(exc)


async def run_command_line(
    connection: asyncssh.SSHClientConnection,
    line: str,
    stdin: bytes | None,
    limit: float,
    max_output: int = OUTPUT_LIMIT,
    on_output: OutputCallback | None = None,
    *,
    linger: float | None = None,
) -> RawResult:
    """Run `line` in the user's login shell and return its result.

    `stdin` is the whole standard input (None: closed at once), `limit` the time limit in seconds.
    `max_output` bytes of each output stream are collected, and passed to `on_output` as they
    arrive. As with ssh, the result comes when no process holds the output open any more; with
    `linger` it also comes when nothing more was printed for that number of seconds after the end of
    the line itself.

    Raises ChannelRefused when nothing was sent, so that another attempt is safe. Raises
    ContactLost when the connection broke after the line may have been sent, StepTimedOut at the
    limit, and TaskCancelled when the caller is cancelled; the detail `ended` of the last two says
    whether the command's end was seen.
    """
    began = time.monotonic()
    session = ExecSession(max_output, on_output)
    await _start(connection, line, limit, session)
    assert session.channel is not None
    with contextlib.suppress(OSError):  # a command that reads no input may have ended already
        session.channel.write(stdin or b"")
    session.channel.write_eof()
    remaining = max(0.0, limit - (time.monotonic() - began))
    try:
        await _await_end(session, remaining, linger)
    except asyncio.CancelledError:
        raise cancelled(await await_uninterrupted(_end(connection, session))) from None
    if not session.closed.done():
        raise timed_out(limit, await await_uninterrupted(_end(connection, session)))
    broken = session.closed.result() is not None or connection.is_closed()
    if session.exit_code is None or (broken and not session.complete):
        raise ContactLost("contact was lost while the step ran: nobody knows whether it ended")
    return RawResult(
        bytes(session.output[None]),
        bytes(session.output[asyncssh.EXTENDED_DATA_STDERR]),
        session.exit_code,
        time.monotonic() - began,
        session.truncated,
    )


async def _await_end(session: ExecSession, limit: float, linger: float | None) -> None:
    """Wait until the channel is closed; with `linger` close it when the line has ended.

    What it printed arrives after its exit status if the connection is slow.
    """
    deadline, printed = time.monotonic() + limit, -1
    if linger is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await session.exited.wait()
        while not session.closed.done() and session.exit_code is not None:
            if printed == session.size:
                session.complete = True
                session.closed.set_result(None)
                assert session.channel is not None
                session.channel.abort()
                return
            printed, remaining = session.size, max(0.0, deadline - time.monotonic())
            await asyncio.wait([session.closed], timeout=min(linger, remaining))
    await asyncio.wait([session.closed], timeout=max(0.0, deadline - time.monotonic()))


async def _start(
    connection: asyncssh.SSHClientConnection, line: str, limit: float, session: ExecSession
) -> None:
    """Have the login node start `line`."""
    opening = open_session(connection, session, line)
    try:
        await asyncio.wait([opening], timeout=limit)
    except asyncio.CancelledError:
        if abandon(opening, session):
            raise TaskCancelled(
                "the task was cancelled; this step was not sent", ended=True
            ) from None
        raise cancelled(await await_uninterrupted(_end(connection, session))) from None
    if not opening.done():
        if abandon(opening, session):
            raise StepTimedOut(
                f"the login node opened no channel within {_seconds(limit)}; the step was not sent",
                ended=True,
            )
        raise timed_out(limit, await await_uninterrupted(_end(connection, session)))
    if fault := opening.exception():
        raise _refusal(connection, session, fault) from fault


def _refusal(
    connection: asyncssh.SSHClientConnection, session: ExecSession, fault: BaseException
) -> ResopError:
    if session.channel is None:
        reason = fault.reason if isinstance(fault, asyncssh.ChannelOpenError) else fault
        return ChannelRefused(f"the login node opened no channel: {reason}")
    if connection.is_closed() or not isinstance(fault, asyncssh.ChannelOpenError):
        return ContactLost()  # the request was in transit when the connection broke
    return ClusterError("the login node refuses to run commands for this user")


async def await_uninterrupted(ending: Coroutine[Any, Any, bool]) -> bool:
    """Await `ending`, which takes a few seconds, however often the caller is cancelled."""
    task = asyncio.ensure_future(ending)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    return task.result()


async def _end(connection: asyncssh.SSHClientConnection, session: ExecSession) -> bool:
    """End the step's processes and its channel; return whether no process is left."""
    assert session.channel is not None
    ended = False
    async with _end_locks.setdefault(connection, asyncio.Lock()):
        if session.exit_code is None:  # else sshd cannot signal the processes that are left
            before = await _list_shells(connection)
            if before:
                await _signal(session, "TERM")
            await _signal(session, "KILL")
            ended = session.signal == "KILL"  # which ended the whole group at the same time
            if before and session.exit_code is not None:
                after = await _list_shells(connection)
                if after is not None:
                    ended = await _kill_remaining(connection, session, before - after)
    session.channel.abort()
    return ended


async def _signal(session: ExecSession, name: str) -> None:
    """Signal the process group while its leader lives, and wait for the leader's end."""
    assert session.channel is not None
    if session.exit_code is None:
        session.channel.send_signal(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await session.exited.wait()


async def _kill_remaining(
    connection: asyncssh.SSHClientConnection, session: ExecSession, gone: set[str]
) -> bool:
    """Kill the processes of the shell among `gone` (PIDs); return whether all are gone."""
    if session.signal != "KILL":  # processes that got TERM with the shell may still clean up
        await asyncio.wait([session.closed], timeout=GRACE_SECONDS)
    output = await _run_script(connection, _KILL_REMAINING.format(gone=" ".join(gone)))
    return bool(gone) and output.endswith("nothing is left\n")


async def _list_shells(connection: asyncssh.SSHClientConnection) -> set[str] | None:
    """Return the PIDs of the login shells of this connection; None if they are not known."""
    _, _, output = (await _run_script(connection, _LIST_SHELLS)).rpartition("shells:\n")
    *shells, end = output.split() or [""]
    return set(shells) if end == "all" else None


async def _run_script(connection: asyncssh.SSHClientConnection, script: str) -> str:
    """Run a short script; return its output, which is empty if the script could not run."""
    session = ExecSession()
    opening = open_session(connection, session, login_shell_script(script))
    await asyncio.wait([opening], timeout=SCRIPT_TIMEOUT)
    if not opening.done() or opening.exception():
        abandon(opening, session)
    elif session.channel is not None:
        session.channel.write_eof()
        await asyncio.wait([session.closed], timeout=SCRIPT_TIMEOUT)
    if session.channel is not None:
        session.channel.abort()
    return session.output[None].decode(errors="replace")


def _seconds(limit: float) -> str:
    return f"{round(limit, 2):g} s"


def cancelled(ended: bool) -> TaskCancelled:
    """Return the error of a cancelled step; `ended` says whether its end was seen."""
    if ended:
        return TaskCancelled("the task was cancelled and its step was ended", ended=True)
    return TaskCancelled(
        "the task was cancelled; that its step ended could not be verified", ended=False
    )


def timed_out(limit: float, ended: bool) -> StepTimedOut:
    """Return the error of a step that reached its time limit in seconds."""
    message = f"the step reached its time limit of {_seconds(limit)}"
    if ended:
        return StepTimedOut(f"{message} and was ended", ended=True)
    return StepTimedOut(f"{message}; that it ended could not be verified", ended=False)
