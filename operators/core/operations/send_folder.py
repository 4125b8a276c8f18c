"""Write a folder on the cluster from a tar archive: complete under its name, or not at all."""

import base64
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import decoded
from resop import RemotePath, Shell, operation

EMPTY = base64.b64encode(bytes(1024)).decode()
"""An archive that holds nothing: two blocks of zeros."""


class Answer(TypedDict):
    """How many files the folder got, links among them, and the bytes they hold."""

    files: int
    bytes: int


@operation(examples=[{"path": "run7/plots", "content": EMPTY}])
def send_folder(
    shell: Shell,
    path: RemotePath,
    content: Annotated[str, Field(description="a tar archive in base64; may be a gzip")],
    merge: Annotated[
        bool, Field(description="unpack into the folder that is there, replacing its files")
    ] = False,
) -> Answer:
    """Return what the folder got.

    The archive holds files, folders and links: a device, a name that leads out of the folder or
    through a link is refused (422) before anything is unpacked. Fails with PathFailed, whose
    `reason` is missing (where it shall stand), denied, exists (unless `merge`), full, …
    """
    made = shell.put_folder(decoded(content, "base64"), path, merge=merge)
    return Answer(files=made.files, bytes=made.bytes)
