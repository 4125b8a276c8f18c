"""The runner, seen from the service: many steps at once over one channel of a connection.

docs/runner.md describes the protocol; `resop/remote` is the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import secrets
import struct
import textwrap
import time
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from resop.errors import ContactLost, ResopError
from resop.ssh import exec_channel
from resop.ssh.exec_channel import ChannelRefused, await_uninterrupted, cancelled, timed_out
from resop.ssh.runner.bundle import SOURCE
from resop.ssh.runner.durable_step import DurabilityUnavailable, DurableStep, NeverStarted
from resop.ssh.runner.remote import protocol
from resop.ssh.runner.remote.event_loop import KILL_SECONDS
from resop.ssh.runner.remote.protocol import ERRORS, OUTPUT, Frames, frame
from resop.steps.output import OutputCallback, RawResult
from resop.steps.step import StepRequest

log = logging.getLogger(__name__)

START_SECONDS = 8.0
"""For the login shell's rc files and Python; a node that takes longer gets exec channels."""
CLOSE_SECONDS = 1.0
LATE_SECONDS = 5.0
"""How much later than it should a runner may tell of an end."""
NOISE_LIMIT = 1 << 20
"""Bytes that rc files may print before the runner speaks."""
SAID_LIMIT = 2000
LARGEST_FRAME = protocol.CHUNK
STREAMS = {OUTPUT: 1, ERRORS: 2}

# Read alike by every login shell. The program is sent once Python has said that it reads: an rc
# file may read, too. Only bash knows `declare -f`; for the others it is nothing, or is left alone.
_START = (
    'exec env RESOP_FUNCTIONS="`declare -f | gzip | base64`" '
    "python3 -I -S -c 'import io, sys; print(); print(sys.argv[1], flush=True); "
    "exec(io.BufferedReader(io.FileIO(0, closefd=False), 1).read(int(sys.argv[2])))' {} {}"
)


@dataclass(frozen=True, slots=True)
class _End:
    how: int
    exit_code: int
    dropped: bool
    gone: bool
    reason: str


@dataclass(slots=True)
class _Sent:
    """A step that was sent."""

    done: asyncio.Future[_End]
    input: memoryview
    keep: int
    heard: OutputCallback | None = None
    kept: DurableStep | None = None
    sent: bool = False
    room: int = protocol.WINDOW
    output: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    taken: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})


class Runner(asyncssh.SSHClientSession[bytes]):
    """One runner on a login node; `start` makes one."""

    def __init__(self) -> None:
        self.at_once = 0
        """How many steps it runs at once."""
        self.reads_rc = False
        """Whether the login shell reads its rc files for each line."""
        self._mark = secrets.token_hex(8)
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why there is no runner; empty when there is one."""
        self._noise = bytearray()
        self._noise_size = 0
        self._frames: Frames | None = None
        self._said = bytearray()
        self._steps: dict[int, _Sent] = {}
        self._numbers = itertools.count(1)
        self._out: list[bytes] = []
        self._unsent: list[_Sent] = []
        self._closed = asyncio.Event()
        self.broken = False
        """No further step can be given to it."""

    @classmethod
    async def start(cls, connection: asyncssh.SSHClientConnection) -> Runner | None:
        """Start one over a channel of `connection`; None, and a line in the log, when it fails."""
        runner = cls()
        line = _START.format(runner._mark, len(SOURCE))
        opening = asyncio.ensure_future(
            connection.create_session(lambda: runner, line, encoding=None)
        )
        opening.add_done_callback(runner._opened)
        try:
            await asyncio.wait([runner._ready], timeout=START_SECONDS)
        finally:
            if not runner._ready.done():
                runner._break(f"it did not start within {START_SECONDS:g} s")
        if reason := runner._ready.result():
            log.info("no runner on the login node, exec channels instead: %s", reason)
            return None
        return runner

    async def run(
        self,
        step: StepRequest,
        limit: float,
        heard: OutputCallback | None = None,
        keep: DurableStep | None = None,
    ) -> RawResult:
        """Run the step's line in the user's login shell, or its program without a shell.

        Answer and errors are those of `run_line`. With `keep` the step outlives this runner: it is
        started, or followed from where it was left; NotKept when that cannot be, NeverBegan for
        one that was only to be found.
        """
        began = time.monotonic()
        if self.broken:
            raise ChannelRefused("the runner on the login node has ended")
        number, sent = self._begin(step, limit, heard, keep)
        ending = keep is not None and keep.is_ending
        patience = exec_channel.GRACE_SECONDS + KILL_SECONDS + LATE_SECONDS
        try:
            await asyncio.wait([sent.done], timeout=limit + patience)
        except asyncio.CancelledError:
            if keep is not None and keep.handed_off:
                raise
            self._send(protocol.END, number)
            raise cancelled(await await_uninterrupted(self._gone(sent, patience))) from None
        if not sent.done.done():
            self._break("it does not answer")
            raise timed_out(limit, False) if keep is None else ContactLost()
        end = sent.done.result()
        if keep is not None:
            _note_end(keep, end)
        if end.how == protocol.NOT_STARTED:
            raise ChannelRefused(f"the login node could not start the step: {end.reason}")
        if end.how == protocol.AT_LIMIT:
            raise timed_out(limit, end.gone)
        if end.how == protocol.ON_REQUEST and ending:
            raise cancelled(end.gone)
        if end.how == protocol.ON_REQUEST:
            raise ContactLost("the runner on the login node was ended, and the step with it")
        return RawResult(
            bytes(sent.output[1]),
            bytes(sent.output[2]),
            end.exit_code,
            time.monotonic() - began,
            end.dropped,
        )

    def _begin(
        self,
        step: StepRequest,
        limit: float,
        heard: OutputCallback | None,
        keep: DurableStep | None,
    ) -> tuple[int, _Sent]:
        kept = {} if keep is None else keep.request(step.input)
        number = next(self._numbers)
        done: asyncio.Future[_End] = asyncio.get_running_loop().create_future()
        sent = _Sent(done, memoryview(step.input or b""), step.max_output, heard, keep)
        if keep is not None:
            sent.input, sent.output = memoryview(b""), keep.output  # what it is given went before
        self._steps[number] = sent
        request: dict[str, Any] = {
            "line": step.line,
            "program": step.program and step.program.as_json(),
            "input": bool(step.input),
            "limit": limit,
            "max_output": step.max_output,
            "grace": exec_channel.GRACE_SECONDS,
            **kept,
        }
        self._unsent.append(sent)
        self._send(protocol.START, number, json.dumps(request).encode())
        self._send_input(number, sent)
        return number, sent

    async def close(self) -> None:
        """End it once it has heard all: sshd drops what is on its way when a connection closes."""
        if self._channel is not None and not self.broken:
            with contextlib.suppress(OSError, TimeoutError):
                self._flush()
                self._channel.write_eof()
                await asyncio.wait_for(self._closed.wait(), CLOSE_SECONDS)

    def forget(self, keep: DurableStep) -> None:
        """Have the node remove what it keeps of a step."""
        content = protocol.FORGET_FIELDS.pack(keep.needs_tombstone) + keep.step_id.encode()
        self._send(protocol.FORGET, 0, content)

    def _send_input(self, number: int, step: _Sent) -> None:
        while step.input and step.room:
            piece = step.input[: min(step.room, protocol.CHUNK)]
            step.input = step.input[len(piece) :]
            step.room -= len(piece)
            kind = protocol.INPUT if step.input else protocol.INPUT_END
            self._send(kind, number, bytes(piece))

    def _send(self, kind: int, number: int, content: bytes = b"") -> None:
        """Send a frame, with all others of this moment in one piece."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(frame(kind, number, content))

    def _flush(self) -> None:
        out, self._out = b"".join(self._out), []
        if self._channel is None or self.broken:
            return
        try:
            self._channel.write(out)
        except OSError as fault:
            self._break(str(fault))
        for step in self._unsent:
            step.sent = True
            if step.kept is not None:
                step.kept.mark_sent()
        self._unsent.clear()

    async def _gone(self, step: _Sent, patience: float) -> bool:
        """Wait for the end of a step that was told to end; tell whether nothing of it is left."""
        await asyncio.wait([step.done], timeout=patience)
        if not step.done.done():
            self._break("it does not answer")
            return False
        return step.done.exception() is None and step.done.result().gone

    # -- called by asyncssh -----------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        if self.broken:
            chan.abort()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is not None:
            self._said += data[: SAID_LIMIT - len(self._said)]
        elif not self.broken:
            try:
                self._take(data)
            except (ValueError, KeyError, struct.error) as fault:
                self._break(f"it is not understood: {fault}")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        said = textwrap.shorten(self._said.decode(errors="replace"), 300)
        self._break(said or str(exc or "it ended"))

    def _opened(self, opening: asyncio.Future[Any]) -> None:
        if opening.cancelled() or (fault := opening.exception()) is not None:
            self._break("no channel" if opening.cancelled() else str(fault))

    # -- frames -----------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        if self._frames is None:
            data = self._after_noise(data)
        if self._frames is not None:
            for kind, number, content in self._frames.feed(data):
                self._take_frame(kind, number, content)

    def _after_noise(self, data: bytes) -> bytes:
        """Skip what rc files print; at Python's word send the program."""
        self._noise += data
        self._noise_size += len(data)
        _, found, rest = self._noise.partition(f"\n{self._mark}\n".encode())
        if found:
            assert self._channel is not None
            self._channel.write(SOURCE)
            self._frames = Frames(LARGEST_FRAME)
        elif self._noise_size > NOISE_LIMIT:
            raise ValueError("the rc files print without end")
        del self._noise[: -len(self._mark) - 2]
        return bytes(rest)

    def _take_frame(self, kind: int, number: int, content: bytes) -> None:
        if not self._ready.done():
            version, self.at_once, self.reads_rc = protocol.HELLO_FIELDS.unpack(content)
            if kind != protocol.HELLO or version != protocol.VERSION or not self.at_once:
                raise ValueError(f"version {version}")
            self._ready.set_result("")
            return
        step = self._steps[number]
        match kind:
            case protocol.OUTPUT | protocol.ERRORS:
                self._take_output(number, step, STREAMS[kind], content)
            case protocol.ROOM:
                _, size = protocol.ROOM_FIELDS.unpack(content)
                step.room += size
                self._send_input(number, step)
            case protocol.EXIT:
                fields = content[: protocol.EXIT_FIELDS.size]
                reason = content[len(fields) :].decode(errors="replace")
                how, code, dropped, gone = protocol.EXIT_FIELDS.unpack(fields)
                del self._steps[number]
                if not step.done.done():
                    step.done.set_result(_End(how, code, dropped, gone, reason))
            case _:
                raise ValueError(f"a frame of type {kind}")

    def _take_output(self, number: int, step: _Sent, stream: int, content: bytes) -> None:
        output = step.output[stream]
        output += content
        if len(output) > step.keep:
            raise ValueError("more output than was asked for")
        if step.heard is not None:
            step.heard(stream, content)
        step.taken[stream] += len(content)
        if step.taken[stream] >= protocol.WINDOW // 2:
            room = protocol.ROOM_FIELDS.pack(stream, step.taken[stream])
            self._send(protocol.ROOM, number, room)
            step.taken[stream] = 0

    def _break(self, reason: str) -> None:
        """Use it no more; what it still runs, it ends when it sees its channel closed."""
        if self.broken:
            return
        self.broken = True
        if not self._ready.done():
            self._ready.set_result(reason)
        elif self._steps:
            log.warning("the runner on the login node is given up: %s", reason)
        if self._channel is not None:
            self._channel.abort()
        steps, self._steps = self._steps, {}
        for step in steps.values():
            if not step.done.done():
                step.done.set_exception(_lost(step.sent))
                step.done.exception()  # known: who waited may have given up before


def _note_end(keep: DurableStep, end: _End) -> None:
    """Note what is known now of a step that survives; raise what is not an end of its own."""
    if end.how == protocol.NOT_STARTED:
        keep.mark_not_started()
    elif end.how == protocol.NOT_KEPT:
        keep.mark_not_durable()
        raise DurabilityUnavailable(
            f"the login node cannot keep the step: {end.reason}; nothing was started"
        )
    else:
        keep.finish()
    if end.how == protocol.NEVER_BEGAN:
        raise NeverStarted()
    if end.how == protocol.UNKNOWN:
        raise ContactLost(f"nobody knows how the step ended: {end.reason}")


def _lost(sent: bool) -> ResopError:
    if not sent:
        return ChannelRefused("the runner on the login node has ended")
    return ContactLost("contact was lost while the step ran: nobody knows whether it ended")
