"""Files of the cluster: read, written and removed; streamed, and never held as a whole."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Annotated, Any
from urllib.parse import quote

import asyncssh
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.http.conditions import (
    Part,
    Span,
    check_conditions,
    is_conditional,
    is_known,
    part_of,
    range_of,
    tag_of,
)
from api.http.digests import Algorithm, Digests, Hashes, as_header, check_digests, expected
from api.http.download import Download
from api.http.resumable_upload import UploadId, exactly, kept_at, open_kept, received_of
from api.http.upload import is_form
from api.routes.sftp_dependency import RemotePath, Sftp, uploaded
from resop.errors import DigestMismatch, InvalidOptions, PathFailed
from resop.limits import FILE_LIMIT
from resop.sftp.client import (
    attributes_of,
    check_regular,
    display_path,
    mode_of,
    remove_quietly,
    translate_sftp_errors,
)
from resop.sftp.files import Target, publish, resolve_target, temporary_file, translate_disk_full
from resop.sftp.transfer import BlockWriter, read_blocks
from resop.storage.serializers import iso_time
from resop.types import FileMode

router = APIRouter(prefix="/files", tags=["files"])

Checksum = Annotated[
    Algorithm | None,
    Query(description="tell this digest of the file, in Repr-Digest (RFC 9530)"),
]
Upload = Annotated[
    UploadId | None, Query(description="an upload in parts, known by an id that you choose")
]


class WriteOptions(BaseModel):
    """How a file is to be written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overwrite: Annotated[bool, Field(description="replace a file that is there")] = True
    mode: Annotated[
        FileMode | None,
        Field(description="permissions in octal; those of the file it replaces, else 0600"),
    ] = None
    modified: Annotated[
        AwareDatetime | None, Field(description="its time, ISO 8601 with zone; else now")
    ] = None
    checksum: Checksum = None
    upload: Upload = None


_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FORM = {
    "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
}


@router.get(
    "/{path:anything}",
    response_class=Download,
    responses={
        200: {"description": "the file", "content": _BINARY},
        206: {"description": "the range of it that was asked for", "content": _BINARY},
        304: {"description": "it is the one that If-None-Match names"},
    },
)
async def read_file(
    request: Request, path: RemotePath, sftp: Sftp, checksum: Checksum = None
) -> Response:
    """Read a file: all of it, or one `Range`."""
    with translate_sftp_errors(path):
        file, attributes = await _opened(sftp, path)
        headers = _headers(path, attributes)
        if is_known(request.headers, attributes):
            return Response(status_code=304, headers=headers)
        span = range_of(request.headers, attributes)
        if not attributes.size:  # those of /proc and the like have none, and are not empty
            return Response(await file.read(FILE_LIMIT), headers=headers)
        if checksum:
            headers["Repr-Digest"] = as_header(await _digests(file, path, attributes, checksum))
    size, status = attributes.size, 200
    if span is not None:
        last = span.start + span.size - 1
        headers["Content-Range"] = f"bytes {span.start}-{last}/{size}"
        status = 206
    span = span or Span(0, size)
    headers["Content-Length"] = str(span.size)
    return Download(_content(file, path, span), status, headers)


@router.head("/{path:anything}")
async def look_at_file(
    request: Request,
    path: RemotePath,
    sftp: Sftp,
    checksum: Checksum = None,
    upload: Upload = None,
) -> Response:
    """Look at a file, or at how far an upload has come (`Upload-Offset`)."""
    with translate_sftp_errors(path):
        if upload is not None:
            received = await received_of(sftp, kept_at(await resolve_target(sftp, path), upload))
            if received is None:
                raise PathFailed(display_path(path), "missing", "there is no such upload")
            return Response(status_code=204, headers=_progress(received))
        file, attributes = await _opened(sftp, path)
        headers = _headers(path, attributes)
        if is_known(request.headers, attributes):
            return Response(status_code=304, headers=headers)
        if checksum:
            headers["Repr-Digest"] = as_header(await _digests(file, path, attributes, checksum))
    return Response(headers={**headers, "Content-Length": str(attributes.size or 0)})


@router.put(
    "/{path:anything}",
    responses={
        200: {"description": "the file was replaced"},
        201: {"description": "the file was made"},
        202: {"description": "the part has arrived, others are to come"},
    },
    openapi_extra={
        "requestBody": {"required": True, "content": {**_BINARY, "multipart/form-data": _FORM}}
    },
)
async def write_file(
    request: Request, path: RemotePath, sftp: Sftp, wanted: Annotated[WriteOptions, Query()]
) -> JSONResponse:
    """Write a file, complete under its name or not at all; or a part of it (`Content-Range`)."""
    part = part_of(request.headers)
    _check_together(request, wanted, part)
    with translate_sftp_errors(path):
        target = await resolve_target(sftp, path)
        check_conditions(request.headers, target.existing)
        if not wanted.overwrite:
            target.check_vacant()
        writing = _Writing(request, sftp, target, wanted)
        if part is None:
            digests = await writing.whole()
        else:
            made = await writing.part(part)
            if made is None:
                received = part.start + part.size
                answer = {"success": True, "received": received}
                return JSONResponse(answer, 202, _progress(received))
            digests = made
        attributes = await sftp.stat(target.real_path)
    headers = {"ETag": tag_of(attributes)}
    if digests:
        headers["Repr-Digest"] = as_header(digests)
    answer = _described(target.real_path, attributes) | {
        algorithm: digest.hex() for algorithm, digest in digests.items()
    }
    return JSONResponse(answer, 201 if target.existing is None else 200, headers)


@router.delete("/{path:anything}", status_code=204)
async def remove_file(
    request: Request, path: RemotePath, sftp: Sftp, upload: Upload = None
) -> Response:
    """Remove a file; a symbolic link itself. Or what has arrived of an upload."""
    with translate_sftp_errors(path):
        if upload is not None:
            await sftp.remove(kept_at(await resolve_target(sftp, path), upload))
            return Response(status_code=204)
        # Only then: a link of one's own goes, too, where it leads to what its user may not see.
        if is_conditional(request.headers):
            check_conditions(request.headers, await attributes_of(sftp, path))
        if stat.S_ISDIR((await sftp.lstat(path)).permissions or 0):
            raise PathFailed(display_path(path), "is_folder")
        await sftp.remove(path)
    return Response(status_code=204)


class _Writing:
    """One request that writes to a target."""

    def __init__(
        self, request: Request, sftp: asyncssh.SFTPClient, target: Target, wanted: WriteOptions
    ) -> None:
        self._request = request
        self._sftp = sftp
        self._target = target
        self._wanted = wanted
        self._checked = {wanted.checksum} if wanted.checksum else set()
        self._of_body = expected(request.headers, "Content-Digest")
        self._of_file = expected(request.headers, "Repr-Digest")

    async def whole(self) -> Digests:
        """Write all of the file; the digests that were asked for or announced."""
        size = int(self._request.headers.get("content-length", 0))
        hashes = Hashes(*{*self._checked, *self._of_body, *self._of_file})
        async with temporary_file(self._sftp, self._target, size) as (beside, file):
            await BlockWriter(file).write(hashes.taking_in(uploaded(self._request)))
            made = hashes.digests()
            check_digests(self._of_body, made)
            check_digests(self._of_file, made)
            await self._put_in_place(beside, file)
        return made

    async def part(self, part: Part) -> Digests | None:
        """Write a part; the same of the whole file with the last one, None before."""
        kept = kept_at(self._target, self._wanted.upload or "")
        file = await open_kept(self._sftp, self._target, kept, part)
        async with translate_disk_full(self._sftp, self._target, part.size), file:
            await self._write_part(file, part)
            if not part.is_last:
                return None
            path, attributes = display_path(self._target.path), await file.stat()
            algorithms = {*self._checked, *self._of_file}
            made = await _digests(file, path, attributes, *algorithms)
            try:
                check_digests(self._of_file, made)
            except DigestMismatch:
                await remove_quietly(self._sftp, kept)
                raise
            await self._put_in_place(kept, file)
        return made

    async def _write_part(self, file: asyncssh.SFTPClientFile, part: Part) -> None:
        hashes, writer = Hashes(*self._of_body), BlockWriter(file, part.start)
        content = exactly(uploaded(self._request), part.size)
        try:
            await writer.write(hashes.taking_in(content))
            check_digests(self._of_body, hashes.digests())
        except DigestMismatch:
            await file.truncate(part.start)
            raise
        except asyncssh.SFTPFailure:
            # Later blocks may be there while an earlier one is missing.
            await file.truncate(writer.committed_offset)
            raise

    async def _put_in_place(self, beside: bytes, file: asyncssh.SFTPClientFile) -> None:
        mode = None if self._wanted.mode is None else int(self._wanted.mode, 8)
        await file.setstat(self._target.final_attributes(mode, self._wanted.modified))
        await file.close()  # some file systems tell only then that there was no room
        # Once more: uploads take their time.
        present = await attributes_of(self._sftp, self._target.real_path)
        check_conditions(self._request.headers, present)
        await publish(self._sftp, self._target, beside, self._wanted.overwrite)


def _check_together(request: Request, wanted: WriteOptions, part: Part | None) -> None:
    """InvalidOptions for what makes no sense together."""
    faults = {}
    if (part is None) != (wanted.upload is None):
        faults["upload"] = "an id and Content-Range come together"
    if is_form(request):
        for header in ("Content-Range", "Content-Digest", "Repr-Digest"):
            if header in request.headers:
                faults[header] = "is not taken with a form"
    if faults:
        raise InvalidOptions([{"field": name, "message": faults[name]} for name in faults])


async def _opened(
    sftp: asyncssh.SFTPClient, path: bytes
) -> tuple[asyncssh.SFTPClientFile, asyncssh.SFTPAttrs]:
    """A regular file, which is closed with its SFTP, and its attributes."""
    # Asked before it is opened: that would wait for the writer of a named pipe.
    check_regular(path, await sftp.stat(path))
    file = await sftp.open(path, "rb")
    return file, await file.stat()


async def _content(file: asyncssh.SFTPClientFile, path: bytes, span: Span) -> AsyncIterator[bytes]:
    with translate_sftp_errors(path):
        async for block in read_blocks(file, display_path(path), span.start, span.size):
            yield block


async def _digests(
    file: asyncssh.SFTPClientFile,
    path: str | bytes,
    attributes: asyncssh.SFTPAttrs,
    *algorithms: Algorithm,
) -> Digests:
    """Of a file that is read for it."""
    hashes = Hashes(*algorithms)
    if algorithms:
        async for block in read_blocks(file, display_path(path), 0, attributes.size or 0):
            hashes.update(block)
    return hashes.digests()


def _headers(path: bytes, attributes: asyncssh.SFTPAttrs) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        # A page that somebody left on the cluster must not run as one of this site's.
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(posixpath.basename(path))}",
        "Content-Type": "application/octet-stream",
        "ETag": tag_of(attributes),
        "Last-Modified": formatdate(attributes.mtime or 0, usegmt=True),
        "X-Content-Type-Options": "nosniff",
        "X-File-Mode": f"{mode_of(attributes):04o}",
    }


def _progress(received: int) -> dict[str, str]:
    return {
        "Cache-Control": "no-store",
        "Upload-Complete": "?0",
        "Upload-Offset": str(received),
    }


def _described(place: bytes, attributes: asyncssh.SFTPAttrs) -> dict[str, Any]:
    return {
        "success": True,
        "path": display_path(place),
        "size": attributes.size,
        "mode": f"{mode_of(attributes):04o}",
        "modified": iso_time(datetime.fromtimestamp(attributes.mtime or 0, UTC)),
        "etag": tag_of(attributes),
    }
