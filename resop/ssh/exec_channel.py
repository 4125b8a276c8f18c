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
from resop.steps.output import OutputCallback, RawResult
from resop.steps.quoting import login_shell_script

GRACE_SECONDS = 3.0
"""From one signal to the next."""
ASK_SECONDS = 3.0
SIGNALS = {each.name.removeprefix("SIG"): each.value for each in signal.Signals}
"""RFC 4254 (6.10) sends names without SIG."""

# sshd signals a process group only while its leader, the login shell, lives. When the shell dies
# of TERM before a child that does not, sshd has forgotten the group: so it is asked before and
# after which shells this connection has. What the one that has gone leaves is killed, by its
# session: tcsh puts background jobs into groups of their own.
_SHELLS = """echo shells:
ps -A -o pid= -o ppid= | while read -r process parent; do
  [ "$parent" != "$PPID" ] || [ "$process" = "$$" ] || echo "$process"
done
echo all
"""
_KILL_LEFT = """left() {{
  ps -A -o sid= -o pid= -o stat= | while read -r session process state; do
    case "$session $state" in "$1 Z"*) ;; "$1 "*) echo "$process" ;; esac
  done
}}
some=
for shell in {gone}; do [ -z "$(left "$shell")" ] || some="$some $shell"; done
set -- $some
# Another step has ended at that moment too, and left something on purpose: nobody knows which.
[ $# -le 1 ] || exit 1
tries=0
while [ $# -eq 1 ] && processes=$(left "$1") && [ -n "$processes" ]; do
  [ $((tries += 1)) -le 10 ] || exit 1
  kill -s KILL $processes 2>/dev/null
  sleep 0.05
done
echo nothing is left
"""

# One step of a connection at a time, so that one shell is gone because of it.
_ending: WeakKeyDictionary[asyncssh.SSHClientConnection, asyncio.Lock] = WeakKeyDictionary()


class ChannelRefused(ClusterUnreachable):
    """The login node opened no channel; nothing was sent."""


class ExecSession(asyncssh.SSHClientSession[bytes]):
    """Collects what comes over a channel."""

    def __init__(self, max_output: int = OUTPUT_LIMIT, heard: OutputCallback | None = None) -> None:
        self._max_output = max_output
        self._heard = heard
        self.channel: asyncssh.SSHClientChannel[bytes] | None = None
        """Set just before the command is sent."""
        self.abandoned = False
        self.kept = {None: bytearray(), asyncssh.EXTENDED_DATA_STDERR: bytearray()}
        self.truncated = False
        self.complete = False
        self.exit_code: int | None = None
        self.signal = ""
        self.exited = asyncio.Event()
        self.closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        if self.abandoned:
            chan.abort()
            raise ChannelRefused()  # so that asyncssh does not send the command after all
        self.channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        kept = self.kept[datatype]
        room = self._max_output - len(kept)
        kept += data[:room]
        if self._heard is not None and room:
            self._heard(1 if datatype is None else 2, data[:room])
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
    heard: OutputCallback | None = None,
) -> RawResult:
    """Run `line` in the user's login shell and return what it answered.

    `stdin` is its whole standard input (None: closed at once), `limit` its time limit in
    seconds, `max_output` what is kept of each output stream in bytes; `heard` is told of that as
    it comes. Raises ChannelRefused
    (nothing was sent, another try is safe), StepTimedOut, ContactLost when the connection broke
    after the line may have been sent, and TaskCancelled when the caller is cancelled; `ended`
    tells whether the command's end was seen.
    """
    began = time.monotonic()
    streams = await _open(connection, line, limit, ExecSession(max_output, heard))
    assert streams.channel is not None
    with contextlib.suppress(OSError):  # what reads no input may have ended already
        streams.channel.write(stdin or b"")
    streams.channel.write_eof()
    left = max(0.0, limit - (time.monotonic() - began))
    try:
        await asyncio.wait([streams.closed], timeout=left)
    except asyncio.CancelledError:
        raise cancelled(await await_uninterrupted(_end(connection, streams))) from None
    if not streams.closed.done():
        raise timed_out(limit, await await_uninterrupted(_end(connection, streams)))
    broken = streams.closed.result() is not None or connection.is_closed()
    if streams.exit_code is None or (broken and not streams.complete):
        raise ContactLost("contact was lost while the step ran: nobody knows whether it ended")
    return RawResult(
        bytes(streams.kept[None]),
        bytes(streams.kept[asyncssh.EXTENDED_DATA_STDERR]),
        streams.exit_code,
        time.monotonic() - began,
        streams.truncated,
    )


async def _open(
    connection: asyncssh.SSHClientConnection, line: str, limit: float, streams: ExecSession
) -> ExecSession:
    """Have the login node start `line`."""
    # Without a command asyncssh asks for a login shell, which would run its standard input.
    opening = asyncio.ensure_future(
        connection.create_session(lambda: streams, line or ":", encoding=None)
    )
    try:
        await asyncio.wait([opening], timeout=limit)
    except asyncio.CancelledError:
        if _abandon(opening, streams):
            raise TaskCancelled(
                "the task was cancelled; this step was not sent", ended=True
            ) from None
        raise cancelled(await await_uninterrupted(_end(connection, streams))) from None
    if not opening.done():
        if _abandon(opening, streams):
            raise StepTimedOut(
                f"the login node opened no channel within {_shown(limit)}; the step was not sent",
                ended=True,
            )
        raise timed_out(limit, await await_uninterrupted(_end(connection, streams)))
    if fault := opening.exception():
        raise _refused(connection, streams, fault) from fault
    return streams


def _abandon(opening: asyncio.Future[Any], streams: ExecSession) -> bool:
    """See to it that no command is sent any more; tell whether none was.

    It is not cancelled: a channel that is opened late would never be closed.
    """
    streams.abandoned = True
    opening.add_done_callback(lambda done: done.cancelled() or done.exception())
    return streams.channel is None


def _refused(
    connection: asyncssh.SSHClientConnection, streams: ExecSession, fault: BaseException
) -> ResopError:
    if streams.channel is None:
        reason = fault.reason if isinstance(fault, asyncssh.ChannelOpenError) else fault
        return ChannelRefused(f"the login node opened no channel: {reason}")
    if connection.is_closed() or not isinstance(fault, asyncssh.ChannelOpenError):
        return ContactLost()  # the request was on its way when the connection broke
    return ClusterError("the login node refuses to run commands for this user")


async def await_uninterrupted(ending: Coroutine[Any, Any, bool]) -> bool:
    """Await it to its end, a few seconds away, however often the caller is cancelled."""
    task = asyncio.ensure_future(ending)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    return task.result()


async def _end(connection: asyncssh.SSHClientConnection, streams: ExecSession) -> bool:
    """End the step's processes, and its channel; tell whether all of them are gone."""
    assert streams.channel is not None
    ended = False
    async with _ending.setdefault(connection, asyncio.Lock()):
        if streams.exit_code is None:  # else sshd cannot signal what the shell has left behind
            before = await _shells(connection)
            if before:
                await _signal(streams, "TERM")
            await _signal(streams, "KILL")
            ended = streams.signal == "KILL"  # as all of its group did, at the same time
            if before and streams.exit_code is not None:
                after = await _shells(connection)
                if after is not None:
                    ended = await _nothing_left(connection, streams, before - after)
    streams.channel.abort()
    return ended


async def _signal(streams: ExecSession, name: str) -> None:
    """Signal the process group, while it has its leader, and wait for that to end."""
    assert streams.channel is not None
    if streams.exit_code is None:
        streams.channel.send_signal(name)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(streams.exited.wait(), GRACE_SECONDS)


async def _nothing_left(
    connection: asyncssh.SSHClientConnection, streams: ExecSession, gone: set[str]
) -> bool:
    """End what the shell has left, whose number is one of `gone`; tell whether all has ended."""
    if streams.signal != "KILL":  # what got TERM with the shell may still tidy up
        await asyncio.wait([streams.closed], timeout=GRACE_SECONDS)
    answer = await _ask(connection, _KILL_LEFT.format(gone=" ".join(gone)))
    return bool(gone) and answer.endswith("nothing is left\n")


async def _shells(connection: asyncssh.SSHClientConnection) -> set[str] | None:
    """Process numbers of the login shells that run on this connection; None if not known."""
    _, _, answer = (await _ask(connection, _SHELLS)).rpartition("shells:\n")
    *shells, end = answer.split() or [""]
    return set(shells) if end == "all" else None


async def _ask(connection: asyncssh.SSHClientConnection, script: str) -> str:
    """What a short script of ours prints; empty when it cannot be had."""
    streams = ExecSession()
    opening = asyncio.ensure_future(
        connection.create_session(lambda: streams, login_shell_script(script), encoding=None)
    )
    await asyncio.wait([opening], timeout=ASK_SECONDS)
    if not opening.done() or opening.exception():
        _abandon(opening, streams)
    elif streams.channel is not None:
        streams.channel.write_eof()
        await asyncio.wait([streams.closed], timeout=ASK_SECONDS)
    if streams.channel is not None:
        streams.channel.abort()
    return streams.kept[None].decode(errors="replace")


def _shown(limit: float) -> str:
    return f"{round(limit, 2):g} s"


def cancelled(ended: bool) -> TaskCancelled:
    """The error of a step that was cancelled; `ended` tells whether its end was seen."""
    if ended:
        return TaskCancelled("the task was cancelled and its step was ended", ended=True)
    return TaskCancelled(
        "the task was cancelled; that its step ended could not be verified", ended=False
    )


def timed_out(limit: float, ended: bool) -> StepTimedOut:
    """The error of a step that reached its time limit in seconds."""
    message = f"the step reached its time limit of {_shown(limit)}"
    if ended:
        return StepTimedOut(f"{message} and was ended", ended=True)
    return StepTimedOut(f"{message}; that it ended could not be verified", ended=False)
