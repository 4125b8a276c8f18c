# Generated from ../_async/part_upload.py by scripts/make_sync.py: edit that file instead.

"""Write a file in parts, as a program makes them: its size is known at its end only."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from resop_client.clock import growing_pauses, sleep
from resop_client.errors import ConnectionFailed, PathFailed, ServiceError, UploadMismatch
from resop_client.transfers import MAX_ATTEMPTS
from resop_client.transport import answer_json

if TYPE_CHECKING:
    from resop_client._sync.files import Files


class PartUpload:
    """One upload; the file has its name when the last part has arrived."""

    def __init__(self, files: Files, query: dict[str, str]) -> None:
        """`query` is that of a request which writes a file."""
        self._files = files
        self._query = {**query, "upload": uuid.uuid4().hex}
        self.sent = 0
        """How many bytes have arrived."""

    def send(self, content: bytes, *, last: bool = False) -> None:
        """Send the next part, which has at least one byte; continue after a cut connection."""
        start, end = self.sent, self.sent + len(content)
        received, attempts, pauses = start, 0, growing_pauses()
        while received < end:
            try:
                rest = content[received - start :]
                size = end if last else None
                answer_json(self._files._send_part(rest, received, size, self._query))
                received = end
            except (ConnectionFailed, ServiceError, UploadMismatch):
                attempts += 1
                if attempts > MAX_ATTEMPTS:
                    raise
                sleep(next(pauses))
                received = self._arrived(start, end, last=last)
        self.sent = end

    def abandon(self) -> None:
        """Remove what has arrived."""
        self._files._abandon(self._query)

    def _arrived(self, start: int, end: int, *, last: bool) -> int:
        """Return how much has arrived after a cut."""
        received = self._files._received(self._query)
        if start <= received:
            return received
        if last and self._is_complete(end):
            return end
        path = self._query["path"]
        raise ConnectionFailed(f"{path}: the first {start} bytes are no longer there")

    def _is_complete(self, size: int) -> bool:
        """Return True if the file has its name: the answer to its last part was cut off."""
        try:
            return (self._files.stat(self._query["path"])).size == size
        except PathFailed:
            return False
