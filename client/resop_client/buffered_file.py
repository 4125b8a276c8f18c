"""A file of the cluster, opened by fsspec: read in ranges, written in parts."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from fsspec.spec import AbstractBufferedFile

from resop_client._sync.part_upload import PartUpload
from resop_client.os_errors import os_errors

if TYPE_CHECKING:
    from resop_client.filesystem import ResopFileSystem


class ResopFile(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """One open file; what is written has the file's name when it is closed, or committed."""

    fs: ResopFileSystem
    path: str
    mode: str
    autocommit: bool
    offset: int
    buffer: io.BytesIO

    def __init__(
        self, fs: ResopFileSystem, path: str, mode: str, *args: Any, **kwargs: Any
    ) -> None:
        """Open a file for reading, writing, appending or, if it does not exist, making it."""
        super().__init__(fs, path, mode, *args, **kwargs)
        self._upload: PartUpload | None = None
        self._uncommitted: bytes | None = None
        if mode == "ab" and fs.exists(path):
            self.loc = self.buffer.write(fs.cat_file(path))

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.cat_file(self.path, start, end)

    def _upload_chunk(self, final: bool = False) -> bool:
        """Send what has been written; False: the buffer is set here."""
        content = self.buffer.getvalue()
        if not final:
            # The last part must not be empty, so one byte stays here.
            self._send(content[:-1], last=False)
            self.offset += len(content) - 1
            self.buffer = io.BytesIO()
            self.buffer.write(content[-1:])
            return False
        if self.autocommit:
            self._send(content, last=True)
        else:
            self._uncommitted = content
        return True

    def commit(self) -> None:
        """Give the file its name, at the end of a transaction."""
        if self._uncommitted is not None:
            content, self._uncommitted = self._uncommitted, None
            self._send(content, last=True)

    def discard(self) -> None:
        """Remove what was written in a transaction that failed."""
        self._uncommitted = None
        if self._upload is not None:
            with os_errors(self.path):
                self._upload.abandon()

    def _send(self, content: bytes, *, last: bool) -> None:
        if self._upload is None and last:
            mode = "create" if self.mode == "xb" else "overwrite"
            self.fs.pipe_file(self.path, content, mode=mode)
            return
        with os_errors(self.path):
            if self._upload is None:
                self._upload = self.fs.start_upload(self.path, overwrite=self.mode != "xb")
            self._upload.send(content, last=last)
