"""Captures a step's output while it runs, for the database: in order, bounded, masked."""

from __future__ import annotations

import asyncio
import codecs
import math
from collections.abc import Callable, Collection
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from resop.limits import OUTPUT_CHUNK, OUTPUT_LIMIT
from resop.security.masking import MaskedStream, Masker
from worker.task_control import TaskHandedOff

RECORD_INTERVAL = 1.0
TICK_SECONDS = 0.5
"""All steps of a worker write at the same moments, so that they share transactions."""
MAX_CHUNKS = 100
"""How often the stream may change between two writes; beyond that the order is coarser."""
OUTPUT_CUT = "\n(the output was cut here)\n"
"""Ends the recorded output of a step that fails; other steps have a flag for this."""

Write = Callable[[list[tuple[int, str]]], Future[None]]
"""Records texts, each with its stream; the future completes when they are written."""


class OutputCapture:
    """Captures one step's output; called with each chunk on the worker's loop.

    A context manager around the step. A step that ends within about a second of its first output
    writes nothing here, since its record then has all of it. A step that fails has no other record
    of its output, so all of it is written.
    """

    def __init__(
        self,
        write: Write,
        masker: Masker,
        limit: int = OUTPUT_LIMIT,
        streams: Collection[int] = (1, 2),
    ) -> None:
        """Set up; of each of the `streams`, the first `limit` bytes are recorded."""
        self._write = write
        self._masker = masker
        self._room = dict.fromkeys(streams, min(limit, OUTPUT_LIMIT))
        self._texts: dict[int, _StreamText] = {}
        self._chunks: list[tuple[int, bytearray]] = []
        self._loop = asyncio.get_running_loop()
        self._recorded_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._written: Future[None] | None = None

    def __call__(self, stream: int, data: bytes) -> None:
        """Capture a chunk of a stream."""
        room = self._room.get(stream, 0)
        if not room:
            return
        self._room[stream] = max(0, room - len(data))
        if not self._chunks or self._chunks[-1][0] != stream:
            if len(self._chunks) < MAX_CHUNKS:
                self._chunks.append((stream, bytearray()))
            else:
                self._chunks.append(self._chunks.pop(-2))
        self._chunks[-1][1].extend(data[:room])
        if self._timer is None:
            self._set_timer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the rest, unless the step was handed off: the other worker will get it all."""
        if self._timer is not None:
            self._timer.cancel()
        if kind is TaskHandedOff:
            return
        if self._written is not None or kind is not None:
            self._record(last=True, failed=kind is not None)
        self._room.clear()

    def _set_timer(self) -> None:
        since = self._loop.time() if self._recorded_at is None else self._recorded_at
        due = math.ceil((since + RECORD_INTERVAL) / TICK_SECONDS) * TICK_SECONDS
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._recorded_at = self._loop.time()
        if self._written is None or self._written.done():
            self._record()
        else:  # the database is unavailable
            self._set_timer()

    def _record(self, *, last: bool = False, failed: bool = False) -> None:
        chunks, self._chunks = self._chunks, []
        texts = [(stream, self._text(stream).feed(chunk)) for stream, chunk in chunks]
        if last:
            for stream, text in self._texts.items():
                cut = not self._room[stream]
                texts.append(
                    (stream, text.finish(cut=cut) + (OUTPUT_CUT if cut and failed else ""))
                )
        if rows := [
            (stream, text[start : start + OUTPUT_CHUNK])
            for stream, text in texts
            for start in range(0, len(text), OUTPUT_CHUNK)
        ]:
            self._written = self._write(rows)

    def _text(self, stream: int) -> _StreamText:
        return self._texts.setdefault(stream, _StreamText(self._masker))


class _StreamText:
    """One stream as text, decoded and masked chunk by chunk as the whole would be."""

    def __init__(self, masker: Masker) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._masked = MaskedStream(masker)

    def feed(self, data: bytes | bytearray) -> str:
        """Return the text that is safe to record after a further chunk."""
        return self._masked.feed(self._decoder.decode(data))

    def finish(self, *, cut: bool) -> str:
        """Return the pending text; a stream that was cut may have ended inside a secret."""
        rest = self._masked.feed(self._decoder.decode(b"", final=True))
        return rest + self._masked.finish(cut=cut)
