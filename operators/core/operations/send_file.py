"""Write a file on the cluster: complete under its name, or not there at all."""

import hashlib
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import Encoding, decoded
from resop import FileMode, RemotePath, Shell, operation


class Answer(TypedDict):
    """What was written; `size` in bytes, `sha256` in hexadecimal."""

    size: int
    sha256: str


@operation(
    examples=[
        {"path": "run7/input.txt", "content": "temperature 280\n"},
        {"path": "bin/start", "content": "IyEvYmluL3NoCg==", "encoding": "base64", "mode": "0755"},
    ]
)
def send_file(
    shell: Shell,
    path: RemotePath,
    content: Annotated[str, Field(description="what the file shall hold")],
    encoding: Annotated[
        Encoding, Field(description="what content is: text, written as UTF-8, or base64")
    ] = "text",
    mode: Annotated[
        FileMode | None,
        Field(description="permissions in octal; those of the file it replaces, else 0600"),
    ] = None,
    overwrite: Annotated[bool, Field(description="replace a file that is there")] = True,
) -> Answer:
    """Return its size and SHA-256.

    Its folder must be there. Fails with PathFailed, whose `reason` is missing, denied, is_folder,
    exists, full, …
    """
    data = decoded(content, encoding)
    shell.put(data, path, mode=None if mode is None else int(mode, 8), overwrite=overwrite)
    return Answer(size=len(data), sha256=hashlib.sha256(data).hexdigest())
