"""The service's side of a runner: runs many steps at once over one channel of a connection.

docs/runner.md describes the protocol; `resop/ssh/runner/remote` is the other side.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from resop.errors import ContactLost, InvalidOptions, ResopError
from resop.ssh import exec_channel
from resop.ssh.exec_channel import ChannelRefused, await_uninterrupted, cancelled, timed_out
from resop.ssh.runner.channel import RunnerChannel
from resop.ssh.runner.durable_step import DurabilityUnavailable, DurableStep, NeverStarted
from resop.ssh.runner.remote import protocol
from resop.ssh.runner.remote.protocol import KILL_TIMEOUT
from resop.steps.output import OutputCallback, RawResult
from resop.steps.step import StepRequest

log = logging.getLogger(__name__)

MAX_DELAY = 5.0
"""How many seconds late a runner may report an end."""
STREAMS = {protocol.STDOUT: 1, protocol.STDERR: 2}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The fields of EXIT."""

    how: int
    exit_code: int
    """For a step that was not started, the error code (errno)."""
    truncated: bool
    gone: bool
    """True if none of the step's processes is left."""
    reason: str


@dataclass(slots=True)
class _Request:
    """A step that the runner was asked to run."""

    ended: asyncio.Future[_Outcome]
    stdin: memoryview
    """The part that was not sent yet."""
    max_output: int
    on_output: OutputCallback | None = None
    durable: DurableStep | None = None
    sent: bool = False
    window: int = protocol.WINDOW_SIZE
    """Bytes of standard input that may be sent."""
    output: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    consumed: dict[int, int] = field(default_factory=lambda: {1: 0, 2: 0})
    """Bytes by stream that no WINDOW_ADJUST has returned to the runner yet."""

    def mark_sent(self) -> None:
        """Note that START was written to the channel."""
        self.sent = True
        if self.durable is not None:
            self.durable.mark_sent()

    def fail(self) -> None:
        """Raise in the caller that waits for the step: its runner is lost."""
        if not self.ended.done():
            self.ended.set_exception(_lost(self.sent))
            self.ended.exception()  # retrieved: the caller may have given up before


class RunnerClient:
    """Runs steps over one runner on a login node; `RunnerClient.start` makes one."""

    def __init__(self) -> None:
        self._channel = RunnerChannel(self._on_frame, self._on_broken)
        self._requests: dict[int, _Request] = {}
        self._numbers = itertools.count(1)
        self._closing: asyncio.Task[None] | None = None
        self._retired = False
        self.on_retire: Callable[[], None] = lambda: None
        """Called when the runner asks for a successor, before it reaches its limit of CPU time."""
        self.ended_idle = False
        """True if it ended while it ran no step: sshd may close idle channels (ChannelTimeout)."""

    @classmethod
    async def start(cls, connection: asyncssh.SSHClientConnection) -> RunnerClient | None:
        """Start a runner over a channel of `connection`; if that fails, log it and return None."""
        client = cls()
        if reason := await client._channel.start(connection):
            log.info("no runner on the login node, using exec channels: %s", reason)
            return None
        return client

    @property
    def is_broken(self) -> bool:
        """True if the runner accepts no further step."""
        return self._channel.is_broken

    @property
    def max_steps(self) -> int:
        """The number of steps that the runner runs at once."""
        assert self._channel.hello is not None
        return self._channel.hello.max_steps

    @property
    def reads_rc_files(self) -> bool:
        """True if the login shell reads its rc files for each line."""
        assert self._channel.hello is not None
        return self._channel.hello.reads_rc_files

    @property
    def shows_line(self) -> bool:
        """True if the login shell shows the whole line in its messages."""
        assert self._channel.hello is not None
        return self._channel.hello.shows_line

    async def run(
        self,
        step: StepRequest,
        limit: float,
        on_output: OutputCallback | None = None,
        durable: DurableStep | None = None,
    ) -> RawResult:
        """Run the step's line in the user's login shell, or its program without a shell.

        Result and errors are those of `run_command_line`. With `durable` the step outlives this
        runner: it is started, or followed from the output received so far. Raises
        DurabilityUnavailable when the node cannot do that, and NeverStarted for a step that was
        not to be started any more.
        """
        began = time.monotonic()
        if self.is_broken:
            raise ChannelRefused("the runner on the login node has ended")
        number, request = self._send_request(step, limit, on_output, durable)
        delay = exec_channel.GRACE_SECONDS + KILL_TIMEOUT + MAX_DELAY
        try:
            await asyncio.wait([request.ended], timeout=limit + delay)
        except asyncio.CancelledError:
            if durable is not None and durable.handed_off:
                raise
            self._channel.send(protocol.END, number)
            raise cancelled(await await_uninterrupted(self._is_gone(request, delay))) from None
        if not request.ended.done():
            self._channel.fail("it does not answer")
            raise timed_out(limit, False) if durable is None else ContactLost()
        outcome = request.ended.result()
        _raise_unless_exited(outcome, limit, durable)
        return RawResult(
            bytes(request.output[1]),
            bytes(request.output[2]),
            outcome.exit_code,
            time.monotonic() - began,
            outcome.truncated,
        )

    def forget(self, durable: DurableStep) -> None:
        """Have the node remove the files of a durable step, and end it if it still runs."""
        content = protocol.FORGET_FIELDS.pack(durable.needs_tombstone) + durable.step_id.encode()
        self._channel.send(protocol.FORGET, 0, content)

    def retire(self) -> None:
        """Close the channel as soon as all steps have ended; no further step may be run."""
        self._retired = True
        if not self._requests and self._closing is None:
            self._closing = asyncio.create_task(self.close())

    async def close(self) -> None:
        """Close the channel once the runner has read everything that was sent."""
        await self._channel.close()

    def _send_request(
        self,
        step: StepRequest,
        limit: float,
        on_output: OutputCallback | None,
        durable: DurableStep | None,
    ) -> tuple[int, _Request]:
        durable_fields = {} if durable is None else durable.request(step.input)
        number = next(self._numbers)
        ended: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        stdin = memoryview(step.input or b"")
        request = _Request(ended, stdin, step.max_output, on_output, durable)
        if durable is not None:
            # START carries the whole standard input.
            request.stdin, request.output = memoryview(b""), durable.output
        self._requests[number] = request
        fields: dict[str, Any] = {
            "line": step.line,
            "program": step.program and step.program.as_json(),
            "input": bool(step.input),
            "limit": limit,
            "max_output": step.max_output,
            "grace": exec_channel.GRACE_SECONDS,
            **durable_fields,
        }
        self._channel.send(
            protocol.START, number, json.dumps(fields).encode(), on_sent=request.mark_sent
        )
        self._send_stdin(number, request)
        return number, request

    def _send_stdin(self, number: int, request: _Request) -> None:
        while request.stdin and request.window:
            chunk = request.stdin[: min(request.window, protocol.CHUNK)]
            request.stdin = request.stdin[len(chunk) :]
            request.window -= len(chunk)
            kind = protocol.STDIN if request.stdin else protocol.STDIN_EOF
            self._channel.send(kind, number, bytes(chunk))

    async def _is_gone(self, request: _Request, timeout: float) -> bool:
        """Wait until a step that was sent END has ended; return whether none of it is left."""
        await asyncio.wait([request.ended], timeout=timeout)
        if not request.ended.done():
            self._channel.fail("it does not answer")
            return False
        return request.ended.exception() is None and request.ended.result().gone

    def _on_frame(self, kind: int, number: int, content: bytes) -> None:
        if kind == protocol.RETIRE:
            self.on_retire()
            return
        request = self._requests[number]
        match kind:
            case protocol.STDOUT | protocol.STDERR:
                self._on_output(number, request, STREAMS[kind], content)
            case protocol.WINDOW_ADJUST:
                _, size = protocol.WINDOW_ADJUST_FIELDS.unpack(content)
                request.window += size
                self._send_stdin(number, request)
            case protocol.EXIT:
                fields = content[: protocol.EXIT_FIELDS.size]
                reason = content[len(fields) :].decode(errors="replace")
                how, code, truncated, gone = protocol.EXIT_FIELDS.unpack(fields)
                del self._requests[number]
                if not request.ended.done():
                    request.ended.set_result(_Outcome(how, code, truncated, gone, reason))
                if self._retired:
                    self.retire()
            case _:
                raise ValueError(f"a frame of type {kind}")

    def _on_output(self, number: int, request: _Request, stream: int, content: bytes) -> None:
        output = request.output[stream]
        output += content
        if len(output) > request.max_output:
            raise ValueError("more output than was asked for")
        if request.on_output is not None:
            request.on_output(stream, content)
        request.consumed[stream] += len(content)
        if request.consumed[stream] >= protocol.WINDOW_SIZE // 2:
            adjustment = protocol.WINDOW_ADJUST_FIELDS.pack(stream, request.consumed[stream])
            self._channel.send(protocol.WINDOW_ADJUST, number, adjustment)
            request.consumed[stream] = 0

    def _on_broken(self, reason: str) -> None:
        if self._requests:
            log.warning("giving up the runner on the login node: %s", reason)
        self.ended_idle = not self._requests
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.fail()


def _raise_unless_exited(outcome: _Outcome, limit: float, durable: DurableStep | None) -> None:
    """Raise the error of a step that did not exit by itself."""
    if durable is not None:
        _note_outcome(durable, outcome)
    if outcome.how == protocol.NOT_STARTED:
        if outcome.exit_code == errno.E2BIG:
            raise InvalidOptions.of(
                "command line",
                "is too long for the login node, together with the environment variables that the "
                "login shell has set: use stdin for more",
            )
        raise ChannelRefused(f"the login node could not start the step: {outcome.reason}")
    if outcome.how == protocol.TIMED_OUT:
        raise timed_out(limit, outcome.gone)
    if outcome.how == protocol.ENDED:
        raise ContactLost("the runner on the login node was ended, and the step with it")


def _note_outcome(durable: DurableStep, outcome: _Outcome) -> None:
    """Note what is known now of a durable step; raise the errors that only durable steps have."""
    was_ending = durable.is_ending
    if outcome.how == protocol.NOT_STARTED:
        durable.mark_not_started()
    elif outcome.how == protocol.NOT_DURABLE:
        durable.mark_not_durable()
        raise DurabilityUnavailable(
            f"the login node cannot run durable steps: {outcome.reason}; nothing was started"
        )
    else:
        durable.finish()
    if outcome.how == protocol.NEVER_STARTED:
        raise NeverStarted()
    if outcome.how == protocol.OUTCOME_UNKNOWN:
        raise ContactLost(f"nobody knows how the step ended: {outcome.reason}")
    if outcome.how == protocol.ENDED and was_ending:
        raise cancelled(outcome.gone)


def _lost(sent: bool) -> ResopError:
    if not sent:
        return ChannelRefused("the runner on the login node has ended")
    return ContactLost("contact was lost while the step ran: nobody knows whether it ended")
