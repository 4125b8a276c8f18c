"""Copy a file, or a folder with all that is in it, on the cluster; its progress is in bytes."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from resop import RemotePath, Shell, operation


class Answer(TypedDict):
    """What was copied: files, links among them, and the bytes they hold."""

    files: int
    bytes: int


@operation(examples=[{"path": "run7", "to": "/scratch/alice/run7"}])
def copy(
    shell: Shell,
    path: RemotePath,
    to: Annotated[RemotePath, Field(description="its path as a copy, with its name")],
    overwrite: Annotated[
        bool,
        Field(description="replace a file that is there; a folder goes into the one that is there"),
    ] = False,
) -> Answer:
    """Return how much it was.

    A copy is complete under its name, or not there. Permissions and times stay, symbolic links
    in a folder stay what they are, devices and pipes are left out.

    Fails with PathFailed, whose `reason` is missing, denied, exists (unless `overwrite`),
    is_folder, full, …
    """
    copied = shell.copy(path, to, overwrite=overwrite)
    return Answer(files=copied.files, bytes=copied.bytes)
