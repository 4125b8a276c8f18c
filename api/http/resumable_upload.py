"""Uploads in parts: what has arrived is kept beside the target until it is complete, or a day.

The headers are those of draft-ietf-httpbis-resumable-upload; a part says where it belongs in
Content-Range (RFC 9110, 14.5), and an upload is known by its target and an id of the client's.
"""

from __future__ import annotations

import hashlib
import re
import stat
import time
from collections.abc import AsyncIterator
from typing import Annotated

import asyncssh
from pydantic import StringConstraints

from api.http.conditions import Part
from resop.archives.entry import NEW_FILE_MODE
from resop.errors import InvalidOptions, UploadMismatch
from resop.sftp.client import remove_quietly
from resop.sftp.files import Target, translate_disk_full

KEPT_SECONDS = 86_400
SWEPT_ENTRIES = 5_000
"""Of a folder, when what was forgotten in it is looked for."""
_NAME = re.compile(rb"\.resop-[0-9a-f]{32}\.upload")

UploadId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,128}$")]


def kept_at(target: Target, upload: str) -> bytes:
    """Where that is which has arrived of an upload."""
    known_by = hashlib.sha256(target.real_path + b"\0" + upload.encode()).hexdigest()
    return target.temp_path(f".resop-{known_by[:32]}.upload")


async def received_of(sftp: asyncssh.SFTPClient, kept: bytes) -> int | None:
    """How many bytes have arrived; None when there is no such upload."""
    try:
        found = await sftp.lstat(kept)
    except asyncssh.SFTPNoSuchFile:
        return None
    if not stat.S_ISREG(found.permissions or 0) or _is_old(found):
        return None
    return found.size or 0


async def open_kept(
    sftp: asyncssh.SFTPClient, target: Target, kept: bytes, part: Part
) -> asyncssh.SFTPClientFile:
    """The file that a part continues, or a new one; UploadMismatch for a part from elsewhere."""
    async with translate_disk_full(sftp, target, part.size):
        if part.start == 0:
            await _sweep(sftp, target)
            await remove_quietly(sftp, kept)
            return await sftp.open(kept, "x+b", asyncssh.SFTPAttrs(permissions=NEW_FILE_MODE))
        received = await received_of(sftp, kept)
        if part.start != received:
            raise UploadMismatch(received or 0)
        return await sftp.open(kept, "r+b")


async def exactly(content: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The content, which is to have that size; InvalidOptions otherwise."""
    left = size
    async for piece in content:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        fault = f"the body has not the {size} bytes that Content-Range tells"
        raise InvalidOptions([{"field": "Content-Range", "message": fault}])


async def _sweep(sftp: asyncssh.SFTPClient, target: Target) -> None:
    """Take away what was kept of uploads that nobody has gone on with for a day."""
    seen = 0
    async for entry in sftp.scandir(target.temp_path("").rstrip(b"/") or b"/"):
        name = entry.filename
        assert isinstance(name, bytes)  # as the folder's own
        if _NAME.fullmatch(name) and _is_old(entry.attrs):
            await remove_quietly(sftp, target.temp_path(name.decode()))
        if (seen := seen + 1) == SWEPT_ENTRIES:
            return


def _is_old(attributes: asyncssh.SFTPAttrs) -> bool:
    return (attributes.mtime or 0) < time.time() - KEPT_SECONDS
