"""A response that streams content from the cluster."""

from __future__ import annotations

import asyncio
import logging

from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from api.http.upload import STALL_SECONDS
from resop.errors import ResopError

log = logging.getLogger(__name__)


class Download(StreamingResponse):
    """A streamed response that is cut off if its content, or its client, fails midway.

    The client recognises this by the missing end of the body.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the content, or as much of it as possible."""
        stalled = False

        async def send_in_time(message: Message) -> None:
            nonlocal stalled
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await send(message)
            except TimeoutError:
                stalled = True
                raise

        try:
            await super().__call__(scope, receive, send_in_time)
        except (TimeoutError, ClientDisconnect):
            if not stalled:
                raise
            log.warning("a download was cut off: the client read nothing for %g s", STALL_SECONDS)
        except ResopError as fault:
            log.warning("a download was cut off: %s", fault.message)
