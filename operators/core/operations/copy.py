"""Copy a file or a folder on the cluster; the task reports its progress in bytes."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from resop import RemotePath, Shell, operation


class CopyStats(TypedDict):
    """The number of files copied (including links), and their total size in bytes."""

    files: int
    bytes: int


@operation(runs_code=True, examples=[{"path": "run7", "to": "/scratch/alice/run7"}])
def copy(
    shell: Shell,
    path: RemotePath,
    to: Annotated[RemotePath, Field(description="path of the copy, including its name")],
    overwrite: Annotated[
        bool,
        Field(description="replace an existing file; merge a folder into an existing one"),
    ] = False,
) -> CopyStats:
    """Return what was copied.

    A copy appears under its name only when it is complete. Permissions and times are preserved,
    symbolic links in a folder remain links, devices and pipes are skipped.

    Fails with PathFailed, whose `reason` is missing, denied, exists (unless `overwrite`),
    is_folder, full, …
    """
    copied = shell.copy(path, to, overwrite=overwrite)
    return CopyStats(files=copied.files, bytes=copied.bytes)
