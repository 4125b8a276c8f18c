"""What routes to files and folders depend on: the path, byte for byte, and SFTP to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import unquote_to_bytes

import asyncssh
from fastapi import Depends, Path, Request
from starlette.convertors import Convertor, register_url_convertor

from api.auth.dependencies import CurrentToken, ServicesDep
from api.http.upload import body_of
from api.state.services import services_of
from resop.access.permissions import READ_FILES, WRITE_FILES
from resop.errors import InvalidOptions, PathFailed
from resop.sftp.client import display_path, is_hidden, open_sftp

WAIT_SECONDS = 30.0
"""For a connection that has room for one more transfer."""
MAX_PATH_BYTES = 4096


class _Anything(Convertor[str]):
    """The rest of an address; starlette's own `path` knows no line breaks."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


async def _path_of(
    request: Request,
    path: Annotated[
        str,
        Path(
            description="from home on, or absolute where it begins with a slash or %2F; ~ is home"
        ),
    ],
) -> bytes:
    # `path` itself is text, in which bytes that are not UTF-8 are lost.
    raw = unquote_to_bytes(request.scope["raw_path"].split(b"/", 2)[2])
    if raw == b"~" or raw.startswith(b"~/"):
        raw = raw[2:].lstrip(b"/")
    if b"\0" in raw or len(raw) > MAX_PATH_BYTES:
        fault = f"has a NUL byte, or more than {MAX_PATH_BYTES} bytes"
        raise InvalidOptions([{"field": "path", "message": fault}])
    return raw or b"."


def uploaded(request: Request) -> AsyncIterator[bytes]:
    """Read the uploaded content, piece by piece; ServiceError once the service is stopping."""
    feeds = services_of(request).watches
    return body_of(request, lambda: feeds.closed)


RemotePath = Annotated[bytes, Depends(_path_of)]


async def _sftp(
    request: Request, services: ServicesDep, token: CurrentToken, path: RemotePath
) -> AsyncIterator[asyncssh.SFTPClient]:
    """In this process, so that the content goes neither through the queue nor the record."""
    action = READ_FILES if request.method in ("GET", "HEAD") else WRITE_FILES
    request.state.action = action
    (await services.permissions.decide(action, token.username, token.credential)).enforce()
    session = services.sessions.session(
        token.username, token.cluster, token.credential, token.key_share
    )
    async with open_sftp(session, WAIT_SECONDS) as sftp:
        try:
            yield sftp
        except PathFailed as fault:
            # What the cluster keeps from this user is not there, whatever is asked of it.
            if fault.details["reason"] == "denied" and await is_hidden(sftp, path):
                raise PathFailed(display_path(path), "hidden") from fault
            raise


Sftp = Annotated[asyncssh.SFTPClient, Depends(_sftp)]
"""Open until the response has been sent."""
