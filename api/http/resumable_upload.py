"""Uploads in parts: a partial file beside the target, until it is complete or a day old.

The headers are those of draft-ietf-httpbis-resumable-upload. A part says where it belongs in
Content-Range (RFC 9110, 14.5). Target and client-chosen id together identify an upload.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import AsyncIterator
from typing import Annotated

import asyncssh
from pydantic import StringConstraints

from api.http.conditions import Part
from resop.archives.entry import NEW_FILE_MODE
from resop.clock import unix_time
from resop.errors import InvalidOptions, UploadMismatch
from resop.sftp.client import remove_quietly
from resop.sftp.target import Target, translate_disk_full
from resop.types import ErrorMessage

MAX_IDLE_SECONDS = 86_400
"""A partial file is removed if nothing was added to it for this long."""
MAX_SWEPT_ENTRIES = 5_000
"""How many entries of a folder are searched for old partial files."""
_PARTIAL_NAME = re.compile(rb"\.resop-[0-9a-f]{32}\.upload")

UploadId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,128}$"),
    ErrorMessage("must be 1 to 128 letters, digits, '.', '_', '~' or '-'"),
]


def partial_path(target: Target, upload: str) -> bytes:
    """Return the path of an upload's partial file."""
    digest = hashlib.sha256(target.real_path + b"\0" + upload.encode()).hexdigest()
    return target.temp_path(f".resop-{digest[:32]}.upload")


async def received_bytes(sftp: asyncssh.SFTPClient, path: bytes) -> int | None:
    """Return the size of a partial file; None if there is no such upload."""
    try:
        found = await sftp.lstat(path)
    except asyncssh.SFTPNoSuchFile:
        return None
    if not stat.S_ISREG(found.permissions or 0) or _is_old(found):
        return None
    return found.size or 0


async def open_partial(
    sftp: asyncssh.SFTPClient, target: Target, path: bytes, part: Part
) -> asyncssh.SFTPClientFile:
    """Open the partial file that a part continues, or create it for the first part.

    Raises UploadMismatch if the part does not begin where the partial file ends.
    """
    async with translate_disk_full(sftp, target, part.size):
        if part.start == 0:
            await _sweep(sftp, target)
            await remove_quietly(sftp, path)
            return await sftp.open(path, "x+b", asyncssh.SFTPAttrs(permissions=NEW_FILE_MODE))
        received = await received_bytes(sftp, path)
        if part.start != received:
            raise UploadMismatch(received or 0)
        return await sftp.open(path, "r+b")


async def exact_size(content: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Yield the chunks of the content. Raises InvalidOptions unless it has `size` bytes."""
    remaining = size
    async for chunk in content:
        remaining -= len(chunk)
        if remaining < 0:
            break
        yield chunk
    if remaining:
        message = f"announces {size} bytes, but the body has {'more' if remaining < 0 else 'fewer'}"
        raise InvalidOptions.of("Content-Range", message)


async def _sweep(sftp: asyncssh.SFTPClient, target: Target) -> None:
    """Remove old partial files from the target's folder."""
    seen = 0
    async for entry in sftp.scandir(target.temp_path("").rstrip(b"/") or b"/"):
        name = entry.filename
        assert isinstance(name, bytes)  # like the folder's own name
        if _PARTIAL_NAME.fullmatch(name) and _is_old(entry.attrs):
            await remove_quietly(sftp, target.temp_path(name.decode()))
        if (seen := seen + 1) == MAX_SWEPT_ENTRIES:
            return


def _is_old(attributes: asyncssh.SFTPAttrs) -> bool:
    return (attributes.mtime or 0) < unix_time() - MAX_IDLE_SECONDS
