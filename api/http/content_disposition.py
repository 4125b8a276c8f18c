"""Name a downloaded file in Content-Disposition (RFC 6266), whatever bytes its name has."""

from __future__ import annotations

import re
from urllib.parse import quote

_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\%]')
"""Characters that a client may misread in a quoted name: escapes, and all outside of ASCII."""
_ATTRIBUTE_CHARACTERS = "!#$&+^`|"
"""Further characters that RFC 8187 leaves as they are; `quote` never changes the others."""


def attachment(name: bytes) -> str:
    """Return the header for a file of that name.

    Every client reads `filename`, in which characters outside of ASCII are replaced; most read
    `filename*` before it. A name that is not UTF-8 has no such form.
    """
    text = name.decode("utf-8", "replace") or "file"
    header = f'attachment; filename="{_NOT_PLAIN.sub("_", text)}"'
    if _NOT_PLAIN.search(text) is None or "\ufffd" in text:
        return header
    return f"{header}; filename*=UTF-8''{quote(text, safe=_ATTRIBUTE_CHARACTERS)}"
