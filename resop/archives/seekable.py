"""The position of a reader that zipfile moves about in a file of known size."""

from __future__ import annotations

import io


class SeekableReader(io.RawIOBase):
    """A raw reader of `size` bytes; subclasses read from `self._offset` on."""

    def __init__(self, size: int) -> None:
        self._end = size
        self._offset = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._end}[whence]
        self._offset = max(0, start + offset)
        return self._offset
