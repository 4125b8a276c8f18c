"""The channel to a runner: starts the program on the login node, then exchanges frames with it.

docs/runner.md describes the start and the frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import asyncssh

from resop.ssh.asyncssh_workarounds import AbandonableSession, open_session
from resop.ssh.runner.bundle import PROGRAM
from resop.ssh.runner.remote import protocol
from resop.ssh.runner.remote.protocol import Frames, frame

START_TIMEOUT = 8.0
"""Seconds for the login shell's rc files and Python; a slower node gets exec channels."""
CLOSE_TIMEOUT = 1.0
MAX_NOISE = 1 << 20
"""Bytes that rc files may print before the runner speaks."""
MAX_STDERR = 2000
MAX_FRAME = protocol.CHUNK

# Every login shell reads this line alike. The program is sent once Python has printed the marker,
# since an rc file may read standard input, too. Only bash knows all of the commands; other shells
# print less, or leave the text as it is. tcsh would make a word of each line, so there is one. Bash
# hides `set -e` from a command substitution, unless it is asked first not to.
_STATE = (
    "(declare -p; echo resop:; shopt -p; echo resop:; alias -p; echo resop:; trap -p; "
    "echo resop:; declare -f) | gzip | base64 | paste -s -"
)
_START = (
    f'shopt -s inherit_errexit || true; exec env RESOP_STATE="`{_STATE}`" '
    "python3 -I -S -c 'import io, sys, zlib; print(); print(sys.argv[1], flush=True); "
    "exec(zlib.decompress(io.BufferedReader(io.FileIO(0, closefd=False), 1)"
    ".read(int(sys.argv[2]))))' {} {}"
)


class Hello(NamedTuple):
    """The first frame of a runner."""

    version: int
    max_steps: int
    """The number of steps that it runs at once."""
    reads_rc_files: bool
    """True if the login shell reads its rc files for each line."""
    shows_line: bool
    """True if the login shell shows the whole line in its messages, as fish does."""


class RunnerChannel(AbandonableSession):
    """One channel with a runner at its other end; `start` it once."""

    def __init__(
        self, on_frame: Callable[[int, int, bytes], None], on_broken: Callable[[str], None]
    ) -> None:
        """`on_frame` is called with each frame after HELLO (its type, step number and content).

        What it raises of ValueError, KeyError and struct.error breaks the channel. `on_broken` is
        called once, with the reason, when the channel can be used no more.
        """
        super().__init__()
        self.hello: Hello | None = None
        self._on_frame = on_frame
        self._on_broken = on_broken
        self._started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """The reason why there is no runner; empty if there is one."""
        self._noise: _NoiseSkipper | None = _NoiseSkipper()
        self._frames = Frames(MAX_FRAME)
        self._stderr = bytearray()
        self._outgoing: list[tuple[bytes, Callable[[], None] | None]] = []
        self._closed = asyncio.Event()

    @property
    def is_broken(self) -> bool:
        """True if the channel can be used no more."""
        return self.abandoned

    async def start(self, connection: asyncssh.SSHClientConnection) -> str:
        """Start the runner; return why that failed, or an empty text."""
        assert self._noise is not None
        line = _START.format(self._noise.marker, len(PROGRAM))
        opening = open_session(connection, self, line)
        opening.add_done_callback(self._on_opened)
        try:
            await asyncio.wait([self._started], timeout=START_TIMEOUT)
        finally:
            if not self._started.done():
                self.fail(f"it did not start within {START_TIMEOUT:g} s")
        return self._started.result()

    def send(
        self,
        kind: int,
        number: int,
        content: bytes = b"",
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        """Send a frame, in one write with all others of this iteration of the event loop."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self.flush)
        self._outgoing.append((frame(kind, number, content), on_sent))

    def flush(self) -> None:
        """Write the frames that were sent, unless the channel is broken."""
        outgoing, self._outgoing = self._outgoing, []
        if self.channel is None or self.is_broken:
            return
        try:
            self.channel.write(b"".join(data for data, _ in outgoing))
        except OSError as fault:
            self.fail(str(fault))
        for _, on_sent in outgoing:
            if on_sent is not None:
                on_sent()

    def fail(self, reason: str) -> None:
        """Use the channel no more; its runner ends all its steps when it sees the channel close."""
        if self.is_broken:
            return
        self.abandoned = True
        if not self._started.done():
            self._started.set_result(reason)
        if self.channel is not None:
            self.channel.abort()
        self._on_broken(reason)

    async def close(self) -> None:
        """Wait until the runner has read everything: a closing sshd drops data in transit."""
        if self.channel is not None and not self.is_broken:
            with contextlib.suppress(OSError, TimeoutError):
                self.flush()
                self.channel.write_eof()
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._closed.wait()

    # -- called by asyncssh -----------------------------------------------------------------

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is not None:
            self._stderr += data[: MAX_STDERR - len(self._stderr)]
        elif not self.is_broken:
            try:
                self._receive(data)
            except (ValueError, KeyError, struct.error) as fault:
                self.fail(f"it is not understood: {fault}")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        stderr = textwrap.shorten(self._stderr.decode(errors="replace"), 300)
        self.fail(stderr or str(exc or "it ended"))

    def _on_opened(self, opening: asyncio.Future[Any]) -> None:
        if opening.cancelled() or (fault := opening.exception()) is not None:
            self.fail("no channel" if opening.cancelled() else str(fault))

    # -- frames -----------------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        if self._noise is not None:
            rest = self._noise.feed(data)
            if rest is None:
                return
            assert self.channel is not None
            self.channel.write(PROGRAM)
            self._noise, data = None, rest
        for kind, number, content in self._frames.feed(data):
            if self.hello is not None:
                self._on_frame(kind, number, content)
                continue
            hello = Hello(*protocol.HELLO_FIELDS.unpack(content))
            if kind != protocol.HELLO or hello.version != protocol.VERSION or not hello.max_steps:
                raise ValueError(f"version {hello.version}")
            self.hello = hello
            self._started.set_result("")


class _NoiseSkipper:
    """Skips what rc files print before Python prints a random marker."""

    def __init__(self) -> None:
        self.marker = secrets.token_hex(8)
        self._tail = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> bytes | None:
        """Return the bytes after the marker, or None; raises ValueError for endless noise."""
        self._tail += data
        self._size += len(data)
        _, found, rest = self._tail.partition(f"\n{self.marker}\n".encode())
        if found:
            return bytes(rest)
        if self._size > MAX_NOISE:
            raise ValueError("the rc files print without end")
        del self._tail[: -len(self.marker) - 2]
        return None
