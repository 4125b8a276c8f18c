"""Takes off an answer what rc files have printed before the step itself began."""

from __future__ import annotations

import dataclasses
import secrets

from resop.channel import Raw

NOISE_LIMIT = 1 << 16
"""Bytes of it that do not count as output."""


def marked(line: str, mark: str = "") -> tuple[str, bytes]:
    """A line that prints a mark on both streams before `line`, for any shell; and the mark.

    It is random where none is given.
    """
    mark = mark or secrets.token_hex(8)
    return f"/bin/sh -c 'echo {mark}; echo {mark} >&2'; {line}", f"{mark}\n".encode()


def without_noise(raw: Raw, mark: bytes, max_output: int) -> Raw:
    """The answer from the mark on, cut to `max_output` bytes; all of it where there is no mark."""
    stdout, stderr = (_after(mark, stream) for stream in (raw.stdout, raw.stderr))
    return dataclasses.replace(
        raw,
        stdout=stdout[:max_output],
        stderr=stderr[:max_output],
        truncated=raw.truncated or max(len(stdout), len(stderr)) > max_output,
    )


def _after(mark: bytes, stream: bytes) -> bytes:
    before, found, after = stream.partition(mark)
    return after if found else before
