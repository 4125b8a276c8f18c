"""What a file holds, as it travels inside of JSON."""

import base64
from typing import Literal

from resop import InvalidOptions, PathFailed

Encoding = Literal["text", "base64"]


def encoded(content: bytes, encoding: Encoding, path: str) -> str:
    """Bytes as JSON takes them; PathFailed for bytes that are no text where text is wanted."""
    if encoding == "base64":
        return base64.b64encode(content).decode()
    try:
        return content.decode()
    except UnicodeDecodeError:
        said = "is not UTF-8 text; ask for it with encoding base64"
        raise PathFailed(path, "not_text", said) from None


def decoded(content: str, encoding: Encoding) -> bytes:
    """The bytes that a request means; base64 may stand on several lines."""
    try:
        if encoding == "text":
            return content.encode()
        return base64.b64decode("".join(content.split()), validate=True)
    except ValueError as fault:
        raise InvalidOptions(
            [{"field": "content", "message": f"is not {encoding}: {fault}"}]
        ) from None
