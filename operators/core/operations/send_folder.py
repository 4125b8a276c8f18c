"""Write a folder on the cluster from a tar archive; it appears only when it is complete."""

import base64
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import decode_content
from resop import RemotePath, Shell, operation

EMPTY_ARCHIVE = base64.b64encode(bytes(1024)).decode()
"""An empty archive: two blocks of zeros."""


class WrittenFolder(TypedDict):
    """The number of files written (including links), and their total size in bytes."""

    files: int
    bytes: int


@operation(runs_code=True, examples=[{"path": "run7/plots", "content": EMPTY_ARCHIVE}])
def send_folder(
    shell: Shell,
    path: RemotePath,
    content: Annotated[str, Field(description="tar archive in base64, optionally compressed")],
    merge: Annotated[
        bool, Field(description="unpack into an existing folder, replacing its files")
    ] = False,
) -> WrittenFolder:
    """Return what was written.

    An archive may contain files, folders and links. One with a device, or with a name that leads
    out of the folder or through a link, is refused (422) before anything is unpacked. Fails with
    PathFailed, whose `reason` is missing (the parent folder), denied, exists (unless `merge`),
    full, …
    """
    made = shell.put_folder(decode_content(content, "base64"), path, merge=merge)
    return WrittenFolder(files=made.files, bytes=made.bytes)
