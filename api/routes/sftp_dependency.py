"""Dependencies of the routes for files and folders: the path, byte for byte, and SFTP access."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import unquote_to_bytes

import asyncssh
from fastapi import Depends, Path, Request
from starlette.convertors import Convertor, register_url_convertor

from api.auth.dependencies import CurrentCaller, ServicesDep
from api.http.upload import upload_chunks
from api.state.services import services_of
from api.tasks.run_action import permit
from resop.access.permissions import READ_FILES, WRITE_FILES
from resop.errors import InvalidOptions, PathFailed
from resop.sftp.client import display_path, is_hidden, open_sftp
from resop.ssh.session import Session

SFTP_WAIT_SECONDS = 30.0
"""How long to wait for a connection with room for one more transfer."""
MAX_PATH_BYTES = 4096


class _AnythingConvertor(Convertor[str]):
    """The rest of a URL, which may contain line breaks: starlette's own `path` excludes them."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _AnythingConvertor())


async def _path_of(
    request: Request,
    path: Annotated[
        str,
        Path(
            description="Path on the cluster, relative to the home folder (`~`); absolute if it "
            "begins with a slash or `%2F`."
        ),
    ],
) -> bytes:
    # `path` itself is text, which cannot carry bytes that are not UTF-8.
    raw = unquote_to_bytes(request.scope["raw_path"].split(b"/", 2)[2])
    if raw == b"~" or raw.startswith(b"~/"):
        raw = raw[2:].lstrip(b"/")
    message = None
    if b"\0" in raw:
        message = "must not contain a NUL byte"
    elif len(raw) > MAX_PATH_BYTES:
        message = f"must have at most {MAX_PATH_BYTES} bytes"
    if message is not None:
        raise InvalidOptions.of("path", message)
    return raw or b"."


def uploaded(request: Request) -> AsyncIterator[bytes]:
    """Yield the uploaded content in chunks. Raises ServiceError once the service is stopping."""
    watches = services_of(request).messaging.watches
    return upload_chunks(request, lambda: watches.closed)


PathParameter = Annotated[bytes, Depends(_path_of)]


async def _session(request: Request, services: ServicesDep, caller: CurrentCaller) -> Session:
    """Return the caller's session in this process: no content passes the queue or the database."""
    await permit(services, caller, READ_FILES if request.method in ("GET", "HEAD") else WRITE_FILES)
    token = caller.token
    return await services.access.sessions.session(
        token.username, token.cluster, token.credential, token.key_share
    )


FileSession = Annotated[Session, Depends(_session)]
"""The session of a caller who may read or write files, as the request does."""


async def _sftp(session: FileSession, path: PathParameter) -> AsyncIterator[asyncssh.SFTPClient]:
    async with open_sftp(session, SFTP_WAIT_SECONDS) as sftp:
        try:
            yield sftp
        except PathFailed as fault:
            # A path that the cluster hides from this user is reported as missing.
            if fault.details["reason"] == "denied" and await is_hidden(sftp, path):
                raise PathFailed(display_path(path), "hidden") from fault
            raise


Sftp = Annotated[asyncssh.SFTPClient, Depends(_sftp)]
"""An SFTP client that stays open until the response has been sent."""
