"""Collect what a step prints, and drop what start-up files print around it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass

OutputCallback = Callable[[int, bytes], None]
"""Told on the loop what a step prints, as it arrives: the stream (1 output, 2 errors), a piece."""


@dataclass(frozen=True, slots=True)
class RawResult:
    """What a command answered, as bytes."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    seconds: float
    truncated: bool


NOISE_LIMIT = 1 << 16
"""Bytes of it that do not count as output."""


def with_mark(line: str, mark: str = "") -> tuple[str, bytes]:
    """A line that prints a mark on both streams before `line`, for any shell; and the mark.

    It is random where none is given.
    """
    mark = mark or secrets.token_hex(8)
    return f"/bin/sh -c 'echo {mark}; echo {mark} >&2'; {line}", f"{mark}\n".encode()


def without_noise(raw: RawResult, mark: bytes, max_output: int) -> RawResult:
    """The answer from the mark on, cut to `max_output` bytes; all of it where there is no mark."""
    stdout, stderr = (_after(mark, stream) for stream in (raw.stdout, raw.stderr))
    return dataclasses.replace(
        raw,
        stdout=stdout[:max_output],
        stderr=stderr[:max_output],
        truncated=raw.truncated or max(len(stdout), len(stderr)) > max_output,
    )


class NoiseFilter:
    """Passes on what a step prints as it comes: the same, in the end, as `without_noise` leaves."""

    def __init__(self, mark: bytes, max_output: int, heard: OutputCallback) -> None:
        self._mark = mark
        self._heard = heard
        self._before = {1: bytearray(), 2: bytearray()}
        """What may be noise, of the streams that have not come to their mark."""
        self._room = {1: max_output, 2: max_output}

    def __call__(self, stream: int, data: bytes) -> None:
        """Take a piece of a stream."""
        if (before := self._before.get(stream)) is not None:
            before += data
            _, found, after = before.partition(self._mark)
            if not found:
                return
            del self._before[stream]
            data = bytes(after)
        self._pass_on(stream, data)

    def finish(self) -> None:
        """The step has ended: a stream without a mark was no noise."""
        for stream, before in self._before.items():
            self._pass_on(stream, bytes(before))

    def _pass_on(self, stream: int, data: bytes) -> None:
        if data := data[: self._room[stream]]:
            self._room[stream] -= len(data)
            self._heard(stream, data)


def _after(mark: bytes, stream: bytes) -> bytes:
    before, found, after = stream.partition(mark)
    return after if found else before
