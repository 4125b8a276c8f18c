"""Read, write and remove files of the cluster; content is streamed, never held as a whole."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Annotated, Any

import asyncssh
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from api.http.conditions import (
    ByteRange,
    check_conditions,
    entity_tag,
    has_conditions,
    is_unchanged,
    read_content_range,
    read_range,
)
from api.http.content_disposition import attachment
from api.http.digests import digest_header
from api.http.download import Download
from api.http.resumable_upload import partial_path, received_bytes
from api.routes.file_models import ReceivedPart, WrittenFile
from api.routes.file_upload import (
    Checksum,
    FileUpload,
    Upload,
    WriteOptions,
    check_write_request,
    file_digests,
)
from api.routes.open_request import COUNTED_TRANSFER
from api.routes.sftp_dependency import FileSession, PathParameter, Sftp, accept_path_in_query
from resop.errors import PathFailed
from resop.limits import FILE_LIMIT
from resop.sftp.client import (
    attributes_of,
    check_regular,
    display_path,
    mode_of,
    translate_sftp_errors,
)
from resop.sftp.target import make_parents, resolve_target
from resop.sftp.transfer import read_blocks
from resop.storage.serializers import iso_time

router = APIRouter(prefix="/files", tags=["files"], dependencies=[COUNTED_TRANSFER])

_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FORM = {
    "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
}


@router.get(
    "/{path:anything}",
    response_class=Download,
    responses={
        200: {"description": "The file.", "content": _BINARY},
        206: {"description": "The requested range of the file.", "content": _BINARY},
        304: {"description": "The file still has the entity tag given in `If-None-Match`."},
    },
)
async def read_file(
    request: Request, path: PathParameter, sftp: Sftp, checksum: Checksum = None
) -> Response:
    """Download a file, or one `Range` of it."""
    with translate_sftp_errors(path):
        file, attributes = await _open(sftp, path)
        headers = _headers(path, attributes)
        if is_unchanged(request.headers, attributes):
            return Response(status_code=304, headers=headers)
        byte_range = read_range(request.headers, attributes)
        if not attributes.size:  # files in /proc and the like have no size, but have content
            return Response(await file.read(FILE_LIMIT), headers=headers)
        if checksum:
            digests = await file_digests(file, path, attributes, checksum)
            headers["Repr-Digest"] = digest_header(digests)
    size, status = attributes.size, 200
    if byte_range is not None:
        last = byte_range.start + byte_range.size - 1
        headers["Content-Range"] = f"bytes {byte_range.start}-{last}/{size}"
        status = 206
    byte_range = byte_range or ByteRange(0, size)
    headers["Content-Length"] = str(byte_range.size)
    return Download(_content(file, path, byte_range), status, headers)


@router.head("/{path:anything}")
async def look_at_file(
    request: Request,
    path: PathParameter,
    sftp: Sftp,
    checksum: Checksum = None,
    upload: Upload = None,
) -> Response:
    """Return a file's headers, or how much of an upload has arrived (`Upload-Offset`)."""
    with translate_sftp_errors(path):
        if upload is not None:
            target = await resolve_target(sftp, path)
            received = await received_bytes(sftp, partial_path(target, upload))
            if received is None:
                raise PathFailed(display_path(path), "missing", "no upload with this id exists")
            return Response(status_code=204, headers=_upload_headers(received))
        file, attributes = await _open(sftp, path)
        headers = _headers(path, attributes)
        if is_unchanged(request.headers, attributes):
            return Response(status_code=304, headers=headers)
        if checksum:
            digests = await file_digests(file, path, attributes, checksum)
            headers["Repr-Digest"] = digest_header(digests)
    return Response(headers={**headers, "Content-Length": str(attributes.size or 0)})


@router.put(
    "/{path:anything}",
    responses={
        200: {"model": WrittenFile, "description": "The file was replaced."},
        201: {"model": WrittenFile, "description": "The file was created."},
        202: {
            "model": ReceivedPart,
            "description": "The part has arrived; other parts are missing.",
        },
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {**_BINARY, "multipart/form-data": _FORM}}
    },
)
async def write_file(
    request: Request,
    path: PathParameter,
    sftp: Sftp,
    session: FileSession,
    options: Annotated[WriteOptions, Query()],
) -> JSONResponse:
    """Upload a file, or a part of it (`Content-Range`).

    A new file appears complete, or not at all. A file that is replaced keeps its owner, group,
    permissions and ACL; where a new file could not have them, the content is written in place.
    """
    part = read_content_range(request.headers)
    check_write_request(request, options, part)
    with translate_sftp_errors(path):
        if options.parents:
            await make_parents(sftp, path)
        target = await resolve_target(sftp, path)
        check_conditions(request.headers, target.existing)
        if not options.overwrite:
            target.check_vacant()
        upload = FileUpload(request, sftp, session, target, options)
        digests = await (upload.write_file() if part is None else upload.write_part(part))
        if part is not None and digests is None:
            received = part.start + part.size
            partial = {"success": True, "received": received}
            return JSONResponse(partial, 202, _upload_headers(received))
        attributes = await sftp.stat(target.real_path)
    headers = {"ETag": entity_tag(attributes)}
    if digests:
        headers["Repr-Digest"] = digest_header(digests)
    written = _written_file(target.real_path, attributes) | {
        algorithm: digest.hex() for algorithm, digest in (digests or {}).items()
    }
    return JSONResponse(written, 201 if target.existing is None else 200, headers)


@router.delete("/{path:anything}", status_code=204)
async def remove_file(
    request: Request, path: PathParameter, sftp: Sftp, upload: Upload = None
) -> Response:
    """Remove a file, or what has arrived of an upload. Of a symbolic link, the link is removed."""
    with translate_sftp_errors(path):
        if upload is not None:
            await sftp.remove(partial_path(await resolve_target(sftp, path), upload))
            return Response(status_code=204)
        # Only with conditions: users may also remove a link to a file that they cannot see.
        if has_conditions(request.headers):
            check_conditions(request.headers, await attributes_of(sftp, path))
        if stat.S_ISDIR((await sftp.lstat(path)).permissions or 0):
            raise PathFailed(display_path(path), "is_folder")
        await sftp.remove(path)
    return Response(status_code=204)


accept_path_in_query(router)


async def _open(
    sftp: asyncssh.SFTPClient, path: bytes
) -> tuple[asyncssh.SFTPClientFile, asyncssh.SFTPAttrs]:
    """Open a regular file, which is closed together with `sftp`; return it with its attributes."""
    # Checked before opening, which would wait for the writer of a named pipe.
    attributes = await sftp.stat(path)
    if stat.S_ISDIR(attributes.permissions or 0):
        raise PathFailed(display_path(path), "is_folder", _IS_FOLDER)
    check_regular(path, attributes)
    file = await sftp.open(path, "rb")
    return file, await file.stat()


_IS_FOLDER = "is a folder: /folders returns it as an archive, utils/opn/list_folder lists it"


async def _content(
    file: asyncssh.SFTPClientFile, path: bytes, byte_range: ByteRange
) -> AsyncIterator[bytes]:
    with translate_sftp_errors(path):
        async for block in read_blocks(file, display_path(path), byte_range.start, byte_range.size):
            yield block


def _headers(path: bytes, attributes: asyncssh.SFTPAttrs) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        # A web page stored on the cluster must not run as a page of this site.
        "Content-Disposition": attachment(posixpath.basename(path)),
        "Content-Type": "application/octet-stream",
        "ETag": entity_tag(attributes),
        "Last-Modified": formatdate(attributes.mtime or 0, usegmt=True),
        "X-Content-Type-Options": "nosniff",
        "X-File-Mode": f"{mode_of(attributes):04o}",
    }


def _upload_headers(received: int) -> dict[str, str]:
    return {
        "Cache-Control": "no-store",
        "Upload-Complete": "?0",
        "Upload-Offset": str(received),
    }


def _written_file(path: bytes, attributes: asyncssh.SFTPAttrs) -> dict[str, Any]:
    return {
        "success": True,
        "path": display_path(path),
        "size": attributes.size,
        "mode": f"{mode_of(attributes):04o}",
        "modified": iso_time(datetime.fromtimestamp(attributes.mtime or 0, UTC)),
        "etag": entity_tag(attributes),
    }
