"""The JSON of written files and folders, as the OpenAPI document describes it."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict


class WrittenFile(TypedDict):
    """A file that was written; with the digest that was asked for, in hexadecimal."""

    success: bool
    path: str
    size: int
    mode: Annotated[str, Field(description="permissions in octal")]
    modified: str | None
    etag: str


class ReceivedPart(TypedDict):
    """How much of an upload has arrived."""

    success: bool
    received: Annotated[int, Field(description="bytes: the offset of the next part")]


class WrittenFolder(TypedDict):
    """A folder that was unpacked from an archive."""

    success: bool
    path: str
    files: int
    bytes: int
