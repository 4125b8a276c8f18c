"""Dependencies of the routes for files and folders: the path, byte for byte, and SFTP access."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import asyncssh
from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.convertors import Convertor, register_url_convertor

from api.auth.dependencies import CurrentCaller, ServicesDep
from api.http.cluster_path import RequestedPath, requested_path
from api.http.request_context import MAX_PATH_LENGTH, context_of
from api.http.upload import upload_chunks
from api.state.services import services_of
from api.tasks.run_action import permit
from resop.access.permissions import READ_FILES, WRITE_FILES
from resop.errors import InvalidOptions, PathFailed
from resop.plain_text import shorten
from resop.sftp.client import display_path, is_hidden, open_sftp, translate_sftp_errors
from resop.ssh.session import Session

SFTP_WAIT_SECONDS = 30.0
"""How long to wait for a connection with room for one more transfer."""


class _AnythingConvertor(Convertor[str]):
    """The rest of a URL, which may contain line breaks: starlette's own `path` excludes them."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _AnythingConvertor())


_PATH_IN_QUERY = "Path on the cluster: absolute, or relative to the home folder (`~`)."
PathInQuery = Annotated[str | None, Field(description=_PATH_IN_QUERY)]
"""The path among other options in the query; `requested_path` reads its bytes."""


async def _requested(
    request: Request,
    in_query: Annotated[str | None, Query(alias="path", description=_PATH_IN_QUERY)] = None,
) -> RequestedPath:
    found = requested_path(request.scope)
    context = context_of(request.scope)
    if in_query is not None:  # the logs name the file
        context.path = shorten(f"{context.path}?path={in_query}", MAX_PATH_LENGTH)
    return found


Requested = Annotated[RequestedPath, Depends(_requested)]


async def _path_of(requested: Requested) -> bytes:
    return requested.path


def accept_path_in_query(router: APIRouter) -> None:
    """Give each route of a router a twin with the path in the query: `/files?path=/etc/hosts`."""
    for route in list(router.routes):
        assert isinstance(route, APIRoute)
        router.add_api_route(
            "",
            route.endpoint,
            methods=route.methods,
            status_code=route.status_code,
            responses=route.responses,
            response_class=route.response_class,
            openapi_extra=route.openapi_extra,
        )


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


async def _sftp(session: FileSession, requested: Requested) -> AsyncIterator[asyncssh.SFTPClient]:
    async with open_sftp(session, SFTP_WAIT_SECONDS) as sftp:
        if not requested.explicit:
            await _check_unambiguous(sftp, requested.path)
        path = requested.path
        try:
            yield sftp
        except PathFailed as fault:
            # A path that the cluster hides from this user is reported as missing.
            if fault.details["reason"] == "denied" and await is_hidden(sftp, path):
                raise PathFailed(display_path(path), "hidden") from fault
            raise


Sftp = Annotated[asyncssh.SFTPClient, Depends(_sftp)]
"""An SFTP client that stays open until the response has been sent."""


async def _check_unambiguous(sftp: asyncssh.SFTPClient, path: bytes) -> None:
    """Raise InvalidOptions if a proxy may have made `path` of an absolute path that exists.

    Of `/files//scratch/x` a proxy that merges slashes makes `/files/scratch/x`.
    """
    first = path.partition(b"/")[0]
    with translate_sftp_errors(path):
        if not await _exists(sftp, b"/" + first):
            return
        if await sftp.realpath(first) == await sftp.realpath(b"/" + first):
            return
    text = display_path(path)
    raise InvalidOptions.of(
        "path",
        f"{text!r} may be in your home folder, or below / if a proxy has merged slashes: "
        f"write '~/{text}' or '-/{text}'",
    )


async def _exists(sftp: asyncssh.SFTPClient, path: bytes) -> bool:
    with contextlib.suppress(asyncssh.SFTPPermissionDenied):
        try:
            await sftp.lstat(path)
        except asyncssh.SFTPNoSuchFile:
            return False
    return True
