"""Write a file in parts, as a program makes them: its size is known at its end only."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from resop_client.clock import asleep, growing_pauses
from resop_client.errors import ConnectionFailed, PathFailed, ServiceError, UploadMismatch
from resop_client.transfers import MAX_ATTEMPTS
from resop_client.transport import answer_json

if TYPE_CHECKING:
    from resop_client._async.files import AsyncFiles


class AsyncPartUpload:
    """One upload; the file has its name when the last part has arrived."""

    def __init__(self, files: AsyncFiles, query: dict[str, str]) -> None:
        """`query` is that of a request which writes a file."""
        self._files = files
        self._query = {**query, "upload": uuid.uuid4().hex}
        self.sent = 0
        """How many bytes have arrived."""

    async def send(self, content: bytes, *, last: bool = False) -> None:
        """Send the next part, which has at least one byte; continue after a cut connection."""
        start, end = self.sent, self.sent + len(content)
        received, attempts, pauses = start, 0, growing_pauses()
        while received < end:
            try:
                rest = content[received - start :]
                size = end if last else None
                answer_json(await self._files._send_part(rest, received, size, self._query))
                received = end
            except (ConnectionFailed, ServiceError, UploadMismatch):
                attempts += 1
                if attempts > MAX_ATTEMPTS:
                    raise
                await asleep(next(pauses))
                received = await self._arrived(start, end, last=last)
        self.sent = end

    async def abandon(self) -> None:
        """Remove what has arrived."""
        await self._files._abandon(self._query)

    async def _arrived(self, start: int, end: int, *, last: bool) -> int:
        """Return how much has arrived after a cut."""
        received = await self._files._received(self._query)
        if start <= received:
            return received
        if last and await self._is_complete(end):
            return end
        path = self._query["path"]
        raise ConnectionFailed(f"{path}: the first {start} bytes are no longer there")

    async def _is_complete(self, size: int) -> bool:
        """Return True if the file has its name: the answer to its last part was cut off."""
        try:
            return (await self._files.stat(self._query["path"])).size == size
        except PathFailed:
            return False
