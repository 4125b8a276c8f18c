"""What a step prints while it runs, on its way into the record: in order, bounded, masked."""

from __future__ import annotations

import asyncio
import codecs
import math
from collections.abc import Callable, Collection
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from resop.limits import OUTPUT_LIMIT, PIECE
from resop.security.masking import Masker
from worker.resumed_steps import TaskHandedOff

SHOW_SECONDS = 1.0
TICK_SECONDS = 0.5
"""All steps of a worker write at the same moments: in few transactions."""
PIECES = 100
"""So often the stream may change between two moments; beyond that the order is coarser."""
CUT = "\n(the output was cut here)\n"
"""Stands at the end of what is kept of a step that fails; of others the record says it."""

Write = Callable[[list[tuple[int, str]]], Future[None]]
"""Records texts, each with its stream; done when that is written."""


class OutputCapture:
    """One step's output, called with each piece on the worker's loop; a context manager.

    Nothing is written when the step ends within about a second of its first word: the record has
    all of it then. When it fails everything is, as there is no other record of that.
    """

    def __init__(
        self,
        write: Write,
        masker: Masker,
        limit: int = OUTPUT_LIMIT,
        streams: Collection[int] = (1, 2),
    ) -> None:
        """Of each of the `streams` that may be shown `limit` bytes are."""
        self._write = write
        self._masker = masker
        self._room = dict.fromkeys(streams, min(limit, OUTPUT_LIMIT))
        self._texts: dict[int, _Text] = {}
        self._pieces: list[tuple[int, bytearray]] = []
        self._loop = asyncio.get_running_loop()
        self._shown_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._written: Future[None] | None = None

    def __call__(self, stream: int, data: bytes) -> None:
        """Take what has come of a stream."""
        room = self._room.get(stream, 0)
        if not room:
            return
        self._room[stream] = max(0, room - len(data))
        if not self._pieces or self._pieces[-1][0] != stream:
            if len(self._pieces) < PIECES:
                self._pieces.append((stream, bytearray()))
            else:
                self._pieces.append(self._pieces.pop(-2))
        self._pieces[-1][1].extend(data[:room])
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
        """The step has ended, or has been left to another worker, who will hear it all again."""
        if self._timer is not None:
            self._timer.cancel()
        if kind is TaskHandedOff:
            return
        if self._written is not None or kind is not None:
            self._show(last=True, failed=kind is not None)
        self._room.clear()

    def _set_timer(self) -> None:
        since = self._loop.time() if self._shown_at is None else self._shown_at
        due = math.ceil((since + SHOW_SECONDS) / TICK_SECONDS) * TICK_SECONDS
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._shown_at = self._loop.time()
        if self._written is None or self._written.done():
            self._show()
        else:  # the database is away
            self._set_timer()

    def _show(self, *, last: bool = False, failed: bool = False) -> None:
        pieces, self._pieces = self._pieces, []
        texts = [(stream, self._text(stream).feed(piece)) for stream, piece in pieces]
        if last:
            for stream, text in self._texts.items():
                cut = not self._room[stream]
                texts.append((stream, text.rest(cut=cut) + (CUT if cut and failed else "")))
        if shown := [
            (stream, text[at : at + PIECE])
            for stream, text in texts
            for at in range(0, len(text), PIECE)
        ]:
            self._written = self._write(shown)

    def _text(self, stream: int) -> _Text:
        return self._texts.setdefault(stream, _Text(self._masker))


class _Text:
    """A stream as text: decoded and masked as the whole of it would be."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes | bytearray) -> str:
        """What can be shown with this further piece: not the beginning of a secret."""
        shown, self._held = self._masker.so_far(self._held + self._decoder.decode(data))
        return shown

    def rest(self, *, cut: bool) -> str:
        """What was held back, when nothing follows; or where it is cut, may be inside a secret."""
        text = self._held + self._decoder.decode(b"", final=True)
        return self._masker.so_far(text)[0] if cut else self._masker.text(text)
