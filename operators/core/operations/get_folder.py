"""Read a folder of the cluster with all that is in it, as a tar archive in base64."""

import hashlib
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import encoded
from resop import FILE_LIMIT, RemotePath, Shell, operation


class Answer(TypedDict):
    """The folder; its members are named from it on: `a/b`. `size` is the archive's, in bytes."""

    content: str
    size: int
    sha256: str


@operation(examples=[{"path": "run7/plots"}])
def get_folder(
    shell: Shell,
    path: RemotePath,
    limit: Annotated[
        int, Field(ge=1, le=FILE_LIMIT, description="an archive of more bytes is refused")
    ] = FILE_LIMIT,
) -> Answer:
    """Return the archive. Symbolic links stay what they are.

    Fails with PathFailed, whose `reason` is missing, denied (also for a part of it), not_folder,
    too_large, …
    """
    archive = shell.get_folder(path, limit=limit)
    return Answer(
        content=encoded(archive, "base64", path),
        size=len(archive),
        sha256=hashlib.sha256(archive).hexdigest(),
    )
