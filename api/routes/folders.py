"""Folders of the cluster as archives: packed and unpacked on the way, and held nowhere here."""

from __future__ import annotations

import contextlib
import fnmatch
import posixpath
import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Literal
from urllib.parse import quote

import asyncssh
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.http.download import Download
from api.routes.sftp_dependency import RemotePath, Sftp, uploaded
from resop.archives import tar, zip
from resop.archives.byte_stream import ByteStream, rechunk
from resop.archives.entry import Content, TreeEntry
from resop.sftp.client import display_path, remove_quietly, translate_sftp_errors
from resop.sftp.files import Target, temporary_file
from resop.sftp.folders import (
    EntryFilter,
    FolderWriter,
    resolve_folder,
    walk,
    with_content,
    writable_folder,
)
from resop.sftp.transfer import BlockWriter

router = APIRouter(prefix="/folders", tags=["files"])

Patterns = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=1024)]], Field(max_length=50)
]
_ARCHIVES = {
    "application/x-tar": {"schema": {"type": "string", "format": "binary"}},
    "application/zip": {"schema": {"type": "string", "format": "binary"}},
}
_SENT = {**_ARCHIVES, "application/gzip": _ARCHIVES["application/x-tar"]}
_PACKED = {"tar": tar.write_archive, "zip": zip.write_archive}
_TYPES = {"tar": "application/x-tar", "zip": "application/zip"}


class ArchiveOptions(BaseModel):
    """What of a folder is packed, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Annotated[Literal["tar", "zip"], Field(description="zip is not compressed")] = "tar"
    include: Annotated[
        Patterns, Field(description="these files and links only: *.csv, or plots/* with its folder")
    ] = []
    exclude: Annotated[
        Patterns, Field(description="not these, and nothing in a folder of such a name")
    ] = []


@router.get(
    "/{path:anything}",
    response_class=Download,
    responses={200: {"description": "the folder", "content": _ARCHIVES}},
)
async def read_folder(
    path: RemotePath, sftp: Sftp, chosen: Annotated[ArchiveOptions, Query()]
) -> Response:
    """Read a folder with all that is in it, as an archive; links stay links.

    It is cut off when a file in it cannot be read.
    """
    with translate_sftp_errors(path):
        top = await resolve_folder(sftp, path)
    members = with_content(sftp, top, walk(sftp, top, _wanted(chosen)))
    archive = rechunk(_PACKED[chosen.format](members))
    first = await anext(archive, b"")  # what fails with it is still answered as such
    name = quote(posixpath.basename(top) + f".{chosen.format}".encode())
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "X-Content-Type-Options": "nosniff",
    }
    return Download(_after(first, archive), 200, headers, _TYPES[chosen.format])


@router.put(
    "/{path:anything}",
    status_code=201,
    responses={201: {"description": "the folder was made, or merged"}},
    openapi_extra={"requestBody": {"required": True, "content": _SENT}},
)
async def write_folder(
    request: Request,
    path: RemotePath,
    sftp: Sftp,
    merge: Annotated[
        bool, Query(description="unpack into the folder that is there, replacing its files")
    ] = False,
) -> JSONResponse:
    """Write a folder from a tar (also gzip) or a zip: complete under its name, or not at all.

    A merge that breaks off leaves what was unpacked, each file complete. Refused: a device, a
    name that leads out of the folder, or through a link.
    """
    with translate_sftp_errors(path):
        async with (
            writable_folder(sftp, path, merge=merge) as (top, place),
            FolderWriter(sftp, top, merge=merge) as made,
            _members(request, sftp, top) as members,
        ):
            async for member, content in members:
                await made.add(member, content)
    answer = {"path": display_path(place), "files": made.files, "bytes": made.bytes}
    return JSONResponse({"success": True, **answer}, 201)


@contextlib.asynccontextmanager
async def _members(
    request: Request, sftp: asyncssh.SFTPClient, top: bytes
) -> AsyncIterator[AsyncIterator[tuple[TreeEntry, Content]]]:
    """The members of the archive that is sent."""
    archive = ByteStream(uploaded(request))
    beginning = await archive.peek(2)
    if beginning == b"PK":
        # The list of its members comes last, so that it has to lie somewhere: in the folder.
        target = Target(top, posixpath.join(top, b"zip"), None)
        size = int(request.headers.get("content-length", 0))
        async with temporary_file(sftp, target, size) as (kept, file):
            writer = BlockWriter(file)
            await writer.write(archive.rest())
            async with sftp.open(kept, "rb") as whole:
                yield zip.read_archive(whole, writer.committed_offset)
        await remove_quietly(sftp, kept)
    else:
        yield tar.read_archive(archive)


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _wanted(chosen: ArchiveOptions) -> EntryFilter:
    """Patterns as fnmatch(7) has them; one without a slash is for a name wherever it is."""
    included, excluded = _matcher(chosen.include), _matcher(chosen.exclude)

    def wanted(name: bytes, folder: bool) -> bool:
        text = name.decode("utf-8", "surrogateescape")
        return not excluded(text) and (folder or not chosen.include or included(text))

    return wanted


def _matcher(patterns: list[str]) -> Callable[[str], bool]:
    whole = [re.compile(fnmatch.translate(each.strip("/"))) for each in patterns if "/" in each]
    last = [re.compile(fnmatch.translate(each)) for each in patterns if "/" not in each]

    def matches(name: str) -> bool:
        base = posixpath.basename(name)
        return any(each.match(name) for each in whole) or any(each.match(base) for each in last)

    return matches
