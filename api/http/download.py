"""A response that streams from the cluster: given up when nobody takes it, or nothing comes."""

from __future__ import annotations

import asyncio
import logging

from fastapi.responses import StreamingResponse
from starlette.types import Message, Send

from api.http.upload import STALL_SECONDS
from resop.errors import ResopError

log = logging.getLogger(__name__)


class Download(StreamingResponse):
    """What fails once it has begun cuts it off: the client sees that the end is missing."""

    async def stream_response(self, send: Send) -> None:
        """Send it all, or as much as can be had."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALL_SECONDS):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            log.warning("a download was cut off: nobody took it for %g s", STALL_SECONDS)
        except ResopError as fault:
            log.warning("a download was cut off: %s", fault.message)
