"""Read and write folders of the cluster as archives, packed and unpacked while streaming."""

from __future__ import annotations

import contextlib
import fnmatch
import posixpath
import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Literal

import asyncssh
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.http.content_disposition import attachment
from api.http.download import Download
from api.http.request_context import context_of
from api.routes.file_models import WrittenFolder
from api.routes.file_upload import Parents
from api.routes.open_request import COUNTED_TRANSFER
from api.routes.sftp_dependency import (
    FileSession,
    PathInQuery,
    PathParameter,
    Sftp,
    accept_path_in_query,
    uploaded,
)
from resop.archives import tar, zip
from resop.archives.byte_stream import ByteStream, rechunk
from resop.archives.entry import Content, TreeEntry
from resop.archives.tar_header import BLOCK_BYTES
from resop.archives.zip_names import check_charset
from resop.sftp.client import display_path, remove_quietly, translate_sftp_errors
from resop.sftp.folders import (
    EntryFilter,
    FolderWriter,
    resolve_folder,
    walk,
    with_content,
    writable_folder,
)
from resop.sftp.target import Target, make_parents, temporary_file
from resop.sftp.transfer import BlockWriter

router = APIRouter(prefix="/folders", tags=["files"], dependencies=[COUNTED_TRANSFER])

MAX_PATTERN_CHARACTERS = 2048
"""In all patterns of a kind together: a name is compared with each character of them."""


def _check_length(patterns: list[str]) -> list[str]:
    if sum(map(len, patterns)) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"must have at most {MAX_PATTERN_CHARACTERS} characters in all")
    return patterns


Patterns = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=1024)]],
    Field(max_length=50),
    AfterValidator(_check_length),
]
_ARCHIVES = {
    "application/x-tar": {"schema": {"type": "string", "format": "binary"}},
    "application/zip": {"schema": {"type": "string", "format": "binary"}},
}
_ANY_TYPE = "application/octet-stream"
"""For clients that know no archives: the content decides what a body is, not its type."""
_BINARY = {_ANY_TYPE: _ARCHIVES["application/x-tar"]}
Charset = Annotated[
    Annotated[str, AfterValidator(check_charset)] | None,
    Query(
        description="Character set of the names in a zip archive, unless it says that they are "
        "UTF-8, such as `shift_jis`. Default: UTF-8 for names that are; else that of DOS, or the "
        "bytes as they are if the archive was made on Unix."
    ),
]
_WRITERS = {"tar": tar.write_archive, "zip": zip.write_archive}
_MEDIA_TYPES = {"tar": "application/x-tar", "zip": "application/zip"}


class ArchiveOptions(BaseModel):
    """The part of a folder to read, and the format of the archive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: PathInQuery = None
    format: Annotated[
        Literal["tar", "zip"] | None,
        Field(
            description="Archive format, not compressed. Default: `tar`, or `zip` if the header "
            "`Accept` names `application/zip` alone."
        ),
    ] = None
    include: Annotated[
        Patterns,
        Field(
            description="Only files and links that match this pattern: `*.csv` in any folder, or "
            "`plots/*` with the folder's path. Repeat it for several."
        ),
    ] = []
    exclude: Annotated[
        Patterns,
        Field(
            description="No files, links or folders that match this pattern, with everything in "
            "those folders. Repeat it for several."
        ),
    ] = []


@router.get(
    "/{path:anything}",
    response_class=Download,
    responses={200: {"description": "The archive.", "content": {**_ARCHIVES, **_BINARY}}},
)
async def read_folder(
    request: Request, path: PathParameter, sftp: Sftp, options: Annotated[ArchiveOptions, Query()]
) -> Response:
    """Download a folder with everything in it as an archive; links stay links.

    The archive is cut off if a file in the folder cannot be read.
    """
    with translate_sftp_errors(path):
        top = await resolve_folder(sftp, path)
    entries = with_content(sftp, top, walk(sftp, top, _entry_filter(options)))
    accepted = _accepted_types(request.headers.get("accept", ""))
    archive_format = options.format or _accepted_format(accepted)
    media_type = _ANY_TYPE if accepted == {_ANY_TYPE} else _MEDIA_TYPES[archive_format]
    archive = rechunk(_WRITERS[archive_format](entries))
    # Read before the answer begins, so that an early failure is still answered as an error.
    first = b"" if context_of(request.scope).is_head else await anext(archive, b"")
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Disposition": attachment(posixpath.basename(top) + f".{archive_format}".encode()),
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
    }
    return Download(_chain(first, archive), 200, headers, media_type)


@router.put(
    "/{path:anything}",
    status_code=201,
    responses={
        201: {"model": WrittenFolder, "description": "The folder was created, or merged into."}
    },
    openapi_extra={"requestBody": {"required": True, "content": _BINARY}},
)
async def write_folder(
    request: Request,
    path: PathParameter,
    sftp: Sftp,
    session: FileSession,
    merge: Annotated[
        bool, Query(description="Unpack into the existing folder, replacing files in it.")
    ] = False,
    parents: Parents = False,
    charset: Charset = None,
) -> JSONResponse:
    """Create a folder from a tar archive, plain or compressed, or from a zip archive.

    The content decides which it is, not its `Content-Type`: gzip, bzip2, xz, lzma and zstd are
    decompressed. The folder appears under its name complete, or not at all. A merge that fails
    midway leaves the files unpacked so far, each of them complete. Archives with devices, or with
    names that lead out of the folder or through a link, are refused.
    """
    with translate_sftp_errors(path):
        if parents:
            await make_parents(sftp, path)
        async with (
            writable_folder(sftp, path, merge=merge) as (top, final_path),
            FolderWriter(sftp, session, top, merge=merge) as writer,
            _entries(request, sftp, top, charset) as entries,
        ):
            async for entry, content in entries:
                await writer.add(entry, content)
    written = {"path": display_path(final_path), "files": writer.files, "bytes": writer.bytes}
    return JSONResponse({"success": True, **written}, 201)


accept_path_in_query(router)


@contextlib.asynccontextmanager
async def _entries(
    request: Request, sftp: asyncssh.SFTPClient, top: bytes, charset: str | None
) -> AsyncIterator[AsyncIterator[tuple[TreeEntry, Content]]]:
    """Yield the entries of the uploaded archive."""
    archive = ByteStream(uploaded(request))
    if zip.is_archive(await archive.peek(BLOCK_BYTES)):
        # A zip archive lists its entries at its end, so it is first stored in the folder.
        target = Target(top, posixpath.join(top, b"zip"), None)
        size = int(request.headers.get("content-length", 0))
        async with temporary_file(sftp, target, size) as (temp_path, file):
            writer = BlockWriter(file)
            await writer.write(archive.rest())
            async with sftp.open(temp_path, "rb") as whole:
                yield zip.read_archive(whole, writer.committed_offset, charset)
        await remove_quietly(sftp, temp_path)
    else:
        yield tar.read_archive(archive)


def _accepted_types(accept: str) -> set[str]:
    """Return the media types of an `Accept` header."""
    return {each.partition(";")[0].strip().lower() for each in accept.split(",")}


def _accepted_format(types: set[str]) -> str:
    """Return the format for accepted types; others than that of an archive change nothing."""
    return "zip" if _MEDIA_TYPES["zip"] in types and _MEDIA_TYPES["tar"] not in types else "tar"


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _entry_filter(options: ArchiveOptions) -> EntryFilter:
    """Return a filter by patterns, as in fnmatch(3); one without a slash matches in any folder."""
    included, excluded = _matcher(options.include), _matcher(options.exclude)

    def accepts(name: bytes, folder: bool) -> bool:
        text = name.decode("utf-8", "surrogateescape")
        return not excluded(text) and (folder or not options.include or included(text))

    return accepts


def _matcher(patterns: list[str]) -> Callable[[str], bool]:
    by_path = [re.compile(fnmatch.translate(each.strip("/"))) for each in patterns if "/" in each]
    by_name = [re.compile(fnmatch.translate(each)) for each in patterns if "/" not in each]

    def matches(name: str) -> bool:
        base = posixpath.basename(name)
        return any(each.match(name) for each in by_path) or any(
            each.match(base) for each in by_name
        )

    return matches
