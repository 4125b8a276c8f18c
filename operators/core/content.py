"""File contents as they travel in JSON."""

import base64
from typing import Literal

from resop import InvalidOptions, PathFailed

ContentEncoding = Literal["text", "base64"]


def encode_content(content: bytes, encoding: ContentEncoding, path: str) -> str:
    """Encode bytes for JSON; PathFailed if they are not UTF-8 and `encoding` is text."""
    if encoding == "base64":
        return base64.b64encode(content).decode()
    try:
        return content.decode()
    except UnicodeDecodeError:
        message = "is not UTF-8 text; use encoding base64"
        raise PathFailed(path, "not_text", message) from None


def decode_content(content: str, encoding: ContentEncoding) -> bytes:
    """Decode a request's content; base64 may contain line breaks."""
    try:
        if encoding == "text":
            return content.encode()
        return base64.b64decode("".join(content.split()), validate=True)
    except ValueError as fault:
        raise InvalidOptions.of("content", f"is not valid {encoding}: {fault}") from None
