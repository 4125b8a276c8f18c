"""Read a file of the cluster: its content, as text or base64, its size, time and SHA-256."""

import hashlib
from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import Encoding, encoded
from resop import FILE_LIMIT, RemotePath, Shell, operation


class Answer(TypedDict):
    """The file; `size` in bytes, `mode` in octal, `sha256` in hexadecimal."""

    content: str
    encoding: Encoding
    size: int
    mode: str
    modified: datetime
    sha256: str


@operation(
    examples=[{"path": "results/run7.json"}, {"path": "plots/run7.png", "encoding": "base64"}]
)
def get_file(
    shell: Shell,
    path: RemotePath,
    encoding: Annotated[
        Encoding, Field(description="text, which is UTF-8, or base64, for any bytes")
    ] = "text",
    limit: Annotated[
        int, Field(ge=0, le=FILE_LIMIT, description="a file of more bytes is refused")
    ] = FILE_LIMIT,
) -> Answer:
    """Return the file.

    Fails with PathFailed, whose `reason` is missing, denied, is_folder, not_file, too_large, …
    """
    file = shell.get_file(path, limit=limit)
    return Answer(
        content=encoded(file.content, encoding, path),
        encoding=encoding,
        size=len(file.content),
        mode=f"{file.mode:04o}",
        modified=file.modified,
        sha256=hashlib.sha256(file.content).hexdigest(),
    )
