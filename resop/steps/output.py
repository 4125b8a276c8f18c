"""Collect the output of a step without the noise that start-up files print before it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from resop.types import argument_fault

OutputCallback = Callable[[int, bytes], None]
"""Called on the event loop with (stream, chunk) as output arrives; 1 is stdout, 2 is stderr."""


@dataclass(frozen=True, slots=True)
class RawResult:
    """The result of a step as bytes."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    seconds: float
    truncated: bool


NOISE_LIMIT = 1 << 20
"""How many bytes of noise on each stream do not count as output."""


def with_mark(line: str, mark: str = "", *, own_line: bool = False) -> tuple[str, bytes]:
    """Return a line that prints a mark on both streams before `line`, and the mark as bytes.

    The result works in any shell. The mark is random by default. With `own_line` a line break comes
    after it, for a shell that shows the whole line in its messages. A line that leaves no room for
    a mark is returned as it is: then noise counts as output, as it does with ssh.
    """
    mark = mark or secrets.token_hex(8)
    separator = "\n" if own_line else "; "
    marked = f"/bin/sh -c 'echo {mark}; echo {mark} >&2'{separator}{line}"
    return line if argument_fault(marked) else marked, f"{mark}\n".encode()


def without_noise(raw: RawResult, mark: bytes, max_output: int) -> RawResult:
    """Return the result with the output after the mark, cut to `max_output` bytes a stream.

    A stream without the mark is returned from its start.
    """
    stdout, stderr = (_after(mark, stream) for stream in (raw.stdout, raw.stderr))
    return dataclasses.replace(
        raw,
        stdout=stdout[:max_output],
        stderr=stderr[:max_output],
        truncated=raw.truncated or max(len(stdout), len(stderr)) > max_output,
    )


class NoiseFilter:
    """Pass on a step's output after the mark, chunk by chunk.

    In the end `on_output` has received exactly what `without_noise` returns.
    """

    def __init__(self, mark: bytes, max_output: int, on_output: OutputCallback) -> None:
        self._mark = mark
        self._on_output = on_output
        self._noise = {1: bytearray(), 2: bytearray()}
        """Output that may be noise, for each stream whose mark has not arrived."""
        self._capacity = {1: max_output, 2: max_output}

    def __call__(self, stream: int, chunk: bytes) -> None:
        """Accept a chunk of a stream."""
        if (noise := self._noise.get(stream)) is not None:
            noise += chunk
            _, mark, after = noise.partition(self._mark)
            if not mark:
                return
            del self._noise[stream]
            chunk = bytes(after)
        self._pass_on(stream, chunk)

    def finish(self) -> None:
        """Pass on the streams without a mark: when the step has ended, they were not noise."""
        for stream, output in self._noise.items():
            self._pass_on(stream, bytes(output))

    def _pass_on(self, stream: int, chunk: bytes) -> None:
        if chunk := chunk[: self._capacity[stream]]:
            self._capacity[stream] -= len(chunk)
            self._on_output(stream, chunk)


def _after(mark: bytes, stream: bytes) -> bytes:
    _, found, after = stream.partition(mark)
    return after if found else stream
