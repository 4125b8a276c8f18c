"""Read a folder on the cluster and everything in it, as a tar archive in base64."""

import hashlib
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import encode_content
from resop import FILE_LIMIT, RemotePath, Shell, operation


class FolderArchive(TypedDict):
    """A folder's archive, with names relative to the folder; `size` of the archive in bytes."""

    content: str
    size: int
    sha256: str


@operation(examples=[{"path": "run7/plots"}])
def get_folder(
    shell: Shell,
    path: RemotePath,
    limit: Annotated[
        int, Field(ge=1, le=FILE_LIMIT, description="refuse an archive with more bytes than this")
    ] = FILE_LIMIT,
) -> FolderArchive:
    """Return the archive. Symbolic links remain links.

    Fails with PathFailed, whose `reason` is missing, denied (also for any part of the folder),
    not_folder, too_large, …
    """
    archive = shell.get_folder(path, limit=limit)
    return FolderArchive(
        content=encode_content(archive, "base64", path),
        size=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
    )
