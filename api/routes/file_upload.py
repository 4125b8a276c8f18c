"""Write an uploaded file to the cluster: as a whole, or in parts that are joined at the end."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import asyncssh
from fastapi import Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from api.http.conditions import Part, check_conditions
from api.http.digests import Algorithm, Digests, Hasher, announced_digests, check_digests
from api.http.resumable_upload import UploadId, exact_size, open_partial, partial_path
from api.http.upload import is_form
from api.routes.sftp_dependency import PathInQuery, uploaded
from resop.errors import DigestMismatch, InvalidOptions
from resop.sftp.client import attributes_of, display_path, remove_quietly
from resop.sftp.publish import FileAttributes, FilePublisher
from resop.sftp.target import Target, temporary_file, translate_disk_full
from resop.sftp.transfer import BlockWriter, read_blocks
from resop.ssh.session import Session
from resop.types import FileMode

Checksum = Annotated[
    Algorithm | None,
    Query(description="Return this digest of the file, in `Repr-Digest` (RFC 9530)."),
]
Upload = Annotated[
    UploadId | None,
    Query(description="The id of an upload in parts, chosen by the client."),
]


Parents = Annotated[bool, Query(description="Create the folders above that do not exist.")]


def _check_time(modified: datetime) -> datetime:
    if not 0 <= modified.timestamp() < 1 << 32:
        raise ValueError("must lie between 1970-01-01 and 2106-02-07: SFTP has no other times")
    return modified


class WriteOptions(BaseModel):
    """How a file is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: PathInQuery = None
    overwrite: Annotated[bool, Field(description="Replace the file if it exists.")] = True
    mode: Annotated[
        FileMode | None,
        Field(
            description="Permissions in octal. Default: those of the file that is replaced, or "
            "0600 for a new file."
        ),
    ] = None
    modified: Annotated[
        Annotated[AwareDatetime, AfterValidator(_check_time)] | None,
        Field(description="Modification time, ISO 8601 with a time zone. Default: now."),
    ] = None
    checksum: Checksum = None
    upload: Upload = None
    parents: Parents = False


def check_write_request(request: Request, options: WriteOptions, part: Part | None) -> None:
    """Raise InvalidOptions for options and headers that contradict each other."""
    faults = {}
    if part is None and options.upload is not None:
        faults["upload"] = "needs the header Content-Range, which says which part this is"
    if part is not None and options.upload is None:
        faults["upload"] = "is required with the header Content-Range"
    if is_form(request):
        for header in ("Content-Range", "Content-Digest", "Repr-Digest"):
            if header in request.headers:
                faults[header] = "cannot be used with a form: send the file itself as the body"
    if faults:
        raise InvalidOptions([{"field": name, "message": faults[name]} for name in faults])


class FileUpload:
    """One request that writes a file, or a part of one."""

    def __init__(
        self,
        request: Request,
        sftp: asyncssh.SFTPClient,
        session: Session,
        target: Target,
        options: WriteOptions,
    ) -> None:
        self._publisher = FilePublisher(sftp, session)
        self._request = request
        self._sftp = sftp
        self._target = target
        self._options = options
        self._requested = {options.checksum} if options.checksum else set()
        self._body_digests = announced_digests(request.headers, "Content-Digest")
        self._file_digests = announced_digests(request.headers, "Repr-Digest")

    async def write_file(self) -> Digests:
        """Write the whole file; return the digests that were requested or announced."""
        size = int(self._request.headers.get("content-length", 0))
        hasher = Hasher(*{*self._requested, *self._body_digests, *self._file_digests})
        async with temporary_file(self._sftp, self._target, size) as (temp_path, file):
            await BlockWriter(file).write(hasher.pass_through(uploaded(self._request)))
            digests = hasher.digests()
            check_digests(self._body_digests, digests)
            check_digests(self._file_digests, digests)
            await self._publish(temp_path, file)
        return digests

    async def write_part(self, part: Part) -> Digests | None:
        """Write one part; return the digests of the file after the last one, else None."""
        path = partial_path(self._target, self._options.upload or "")
        file = await open_partial(self._sftp, self._target, path, part)
        async with translate_disk_full(self._sftp, self._target, part.size), file:
            await self._append(file, part)
            if not part.is_last:
                return None
            algorithms = {*self._requested, *self._file_digests}
            digests = await file_digests(
                file, display_path(self._target.path), await file.stat(), *algorithms
            )
            try:
                check_digests(self._file_digests, digests)
            except DigestMismatch:
                await remove_quietly(self._sftp, path)
                raise
            await self._publish(path, file)
        return digests

    async def _append(self, file: asyncssh.SFTPClientFile, part: Part) -> None:
        """Write a part's content; after a failure the partial file ends where it ended before."""
        hasher, writer = Hasher(*self._body_digests), BlockWriter(file, part.start)
        content = exact_size(uploaded(self._request), part.size)
        try:
            await writer.write(hasher.pass_through(content))
            check_digests(self._body_digests, hasher.digests())
        except DigestMismatch:
            await file.truncate(part.start)
            raise
        except asyncssh.SFTPFailure:
            # Blocks after a missing one may have been written.
            await file.truncate(writer.committed_offset)
            raise

    async def _publish(self, temp_path: bytes, file: asyncssh.SFTPClientFile) -> None:
        """Set the file's attributes and put it into its final place."""
        await file.close()  # some file systems report a full disk only now
        # The file may have changed during the upload, so the conditions are checked again.
        present = await attributes_of(self._sftp, self._target.real_path)
        check_conditions(self._request.headers, present)
        mode = None if self._options.mode is None else int(self._options.mode, 8)
        attributes = FileAttributes.of(mode, self._options.modified)
        await self._publisher.publish(self._target, temp_path, attributes, self._options.overwrite)


async def file_digests(
    file: asyncssh.SFTPClientFile,
    path: str | bytes,
    attributes: asyncssh.SFTPAttrs,
    *algorithms: Algorithm,
) -> Digests:
    """Read a whole file to compute its digests; empty without algorithms."""
    hasher = Hasher(*algorithms)
    if algorithms:
        async for block in read_blocks(file, display_path(path), 0, attributes.size or 0):
            hasher.update(block)
    return hasher.digests()
