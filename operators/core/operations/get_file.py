"""Read a file on the cluster: content (text or base64), size, modification time and SHA-256."""

import hashlib
from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import ContentEncoding, encode_content
from resop import FILE_LIMIT, RemotePath, Shell, operation


class FileContent(TypedDict):
    """A file; `size` in bytes, `mode` in octal, `sha256` in hexadecimal."""

    content: str
    encoding: ContentEncoding
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
        ContentEncoding, Field(description="text (UTF-8 only) or base64 (any content)")
    ] = "text",
    limit: Annotated[
        int, Field(ge=0, le=FILE_LIMIT, description="refuse a file with more bytes than this")
    ] = FILE_LIMIT,
) -> FileContent:
    """Return the file.

    Fails with PathFailed, whose `reason` is missing, denied, is_folder, not_file, too_large, …
    """
    file = shell.get_file(path, limit=limit)
    return FileContent(
        content=encode_content(file.content, encoding, path),
        encoding=encoding,
        size=len(file.content),
        mode=f"{file.mode:04o}",
        modified=file.modified,
        sha256=hashlib.sha256(file.content).hexdigest(),
    )
