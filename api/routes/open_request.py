"""Dependencies of the routes whose requests stay open for long: they are counted and limited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Query

from api.auth.dependencies import CurrentToken, ServicesDep
from api.http.preferences import MAX_WAIT_SECONDS
from api.state.open_requests import LongRequest
from api.state.turns import end_turn

Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_SECONDS, description="Wait up to this many seconds for the end."),
]


async def _stream(services: ServicesDep, token: CurrentToken) -> AsyncIterator[None]:
    end_turn()
    with services.open_requests.hold(LongRequest.STREAM, token):
        yield


async def _transfer(services: ServicesDep, token: CurrentToken) -> AsyncIterator[None]:
    end_turn()
    with services.open_requests.hold(LongRequest.TRANSFER, token):
        yield


async def _wait(services: ServicesDep, token: CurrentToken, wait: Wait = 0) -> AsyncIterator[None]:
    if not wait:
        yield
        return
    end_turn()
    with services.open_requests.hold(LongRequest.WAIT, token):
        yield


# Each is released when its response has been sent.
COUNTED_STREAM = Depends(_stream)
COUNTED_TRANSFER = Depends(_transfer)
COUNTED_WAIT = Depends(_wait)
