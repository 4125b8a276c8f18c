"""Write a file on the cluster; it appears under its name only when it is complete."""

import hashlib
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import ContentEncoding, decode_content
from resop import FileMode, RemotePath, Shell, operation


class WrittenFile(TypedDict):
    """The file written; `size` in bytes, `sha256` in hexadecimal."""

    size: int
    sha256: str


@operation(
    runs_code=True,
    examples=[
        {"path": "run7/input.txt", "content": "temperature 280\n"},
        {"path": "bin/start", "content": "IyEvYmluL3NoCg==", "encoding": "base64", "mode": "0755"},
    ],
)
def send_file(
    shell: Shell,
    path: RemotePath,
    content: Annotated[str, Field(description="content of the file")],
    encoding: Annotated[
        ContentEncoding, Field(description="encoding of content: text (written as UTF-8) or base64")
    ] = "text",
    mode: Annotated[
        FileMode | None,
        Field(description="permissions in octal (default: those of the replaced file, or 0600)"),
    ] = None,
    overwrite: Annotated[bool, Field(description="replace an existing file")] = True,
) -> WrittenFile:
    """Return the file's size and SHA-256.

    The folder must exist. Fails with PathFailed, whose `reason` is missing, denied, is_folder,
    exists, full, …
    """
    data = decode_content(content, encoding)
    shell.put(data, path, mode=None if mode is None else int(mode, 8), overwrite=overwrite)
    return WrittenFile(size=len(data), sha256=hashlib.sha256(data).hexdigest())
