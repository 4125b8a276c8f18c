"""One remote command over one SSH exec channel: its streams, its end, its time limit."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import asyncssh
from asyncssh.constants import OPEN_REQUEST_SESSION_FAILED

from resop.errors import ClusterError, ClusterUnreachable, ContactLost, StepTimedOut, TaskCancelled

OUTPUT_LIMIT = 1 << 20
"""Bytes kept of each output stream; the rest is read and dropped."""

GRACE_SECONDS = 3.0
SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "ABRT": 6, "KILL": 9, "SEGV": 11, "PIPE": 13, "TERM": 15}


class ChannelRefused(ClusterUnreachable):
    """The login node opened no channel; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What a command answered, as bytes."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    seconds: float
    truncated: bool


class _Streams(asyncssh.SSHClientSession[bytes]):
    """Collects what comes over a channel."""

    def __init__(self) -> None:
        self.kept = {None: bytearray(), asyncssh.EXTENDED_DATA_STDERR: bytearray()}
        self.truncated = False
        self.exit_code: int | None = None
        self.closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        kept = self.kept[datatype]
        room = OUTPUT_LIMIT - len(kept)
        kept += data[:room]
        self.truncated = self.truncated or len(data) > room

    def exit_status_received(self, status: int) -> None:
        self.exit_code = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.exit_code = 128 + SIGNALS.get(signal, 0)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(exc)


async def run_line(
    connection: asyncssh.SSHClientConnection, line: str, stdin: bytes | None, limit: float
) -> Raw:
    """Run `line` in the user's login shell and return what it answered.

    `stdin` is its whole standard input (None: closed at once), `limit` its time limit in
    seconds. Raises ChannelRefused (nothing was sent, another try is safe), StepTimedOut,
    ContactLost when the connection broke after the line may have been sent, and TaskCancelled
    when the caller is cancelled; `ended` tells whether the command's end was seen.
    """
    began = time.monotonic()
    channel, streams = await _open(connection, line, limit)
    if stdin:
        channel.write(stdin)
    channel.write_eof()
    try:
        async with asyncio.timeout(max(0.0, limit - (time.monotonic() - began))):
            await asyncio.shield(streams.closed)
    except TimeoutError:
        ended = await _end(channel, streams)
        raise _timed_out(limit, ended) from None
    except asyncio.CancelledError:
        ended = await asyncio.shield(_end(channel, streams))
        raise _cancelled(ended) from None
    if streams.exit_code is None:
        raise ContactLost("contact was lost while the step ran: nobody knows whether it ended")
    return Raw(
        bytes(streams.kept[None]),
        bytes(streams.kept[asyncssh.EXTENDED_DATA_STDERR]),
        streams.exit_code,
        time.monotonic() - began,
        streams.truncated,
    )


async def _open(
    connection: asyncssh.SSHClientConnection, line: str, limit: float
) -> tuple[asyncssh.SSHClientChannel[bytes], _Streams]:
    try:
        async with asyncio.timeout(limit):
            channel, streams = await connection.create_session(_Streams, line, encoding=None)
            assert isinstance(streams, _Streams)
            return channel, streams
    except asyncssh.ChannelOpenError as fault:
        if fault.code != OPEN_REQUEST_SESSION_FAILED:
            raise ChannelRefused(f"the login node opened no channel: {fault.reason}") from fault
        if connection.is_closed():
            # The request was on its way when the connection broke.
            raise ContactLost() from fault
        raise ClusterError("the login node refuses to run commands for this user") from fault
    except TimeoutError:
        raise StepTimedOut(
            f"the login node did not start the step within {limit:g} s; "
            "whether it started is not known"
        ) from None
    except (OSError, asyncssh.Error) as fault:
        raise ContactLost() from fault


async def _end(channel: asyncssh.SSHClientChannel[bytes], streams: _Streams) -> bool:
    """Signal the process group until it reports its end; tell whether it did."""
    for signal in ("TERM", "KILL"):
        if channel.is_closing():
            break
        channel.send_signal(signal)
        done, _ = await asyncio.wait([streams.closed], timeout=GRACE_SECONDS)
        if done:
            break
    channel.abort()
    return streams.exit_code is not None


def _cancelled(ended: bool) -> TaskCancelled:
    if ended:
        return TaskCancelled("the task was cancelled and its step was ended", ended=True)
    return TaskCancelled(
        "the task was cancelled; that its step ended could not be verified", ended=False
    )


def _timed_out(limit: float, ended: bool) -> StepTimedOut:
    message = f"the step reached its time limit of {limit:g} s"
    if ended:
        return StepTimedOut(f"{message} and was ended", ended=True)
    return StepTimedOut(f"{message}; that it ended could not be verified", ended=False)
