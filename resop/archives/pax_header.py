"""Parse the keywords of a pax header, in number and size limited: see pax(1p) of POSIX.

The module tarfile parses them, too, but without limits.
"""

from __future__ import annotations

from collections.abc import Iterator

from resop.archives.safe_names import invalid_archive

MAX_HEADER_RECORDS = 1000
"""Keywords in a pax header, except the list of the parts of a sparse file."""
SPARSE_MAP = b"GNU.sparse.map"
_SPARSE_PARTS = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
_USED_KEYWORDS = frozenset(
    [
        *(b"path", b"linkpath", b"size", b"mtime", SPARSE_MAP, b"GNU.sparse.name"),
        *(b"GNU.sparse.size", b"GNU.sparse.realsize", b"GNU.sparse.major", b"GNU.sparse.minor"),
        *(b"SUN.holesdata", b"SCHILY.realsize"),
    ]
)
_MAX_NUMBER_BYTES = 32


def parse_pax_header(content: bytes) -> dict[bytes, bytes]:
    """Return the keywords that matter here.

    The parts of a sparse file, which version 0.0 of GNU's format stores as many keywords, become
    the list that version 0.1 stores. Raises InvalidOptions.
    """
    keywords, parts, others = dict[bytes, bytes](), list[bytes](), 0
    for keyword, value in _records(content):
        if keyword in _SPARSE_PARTS:
            parts.append(value)
            continue
        others += 1
        if others > MAX_HEADER_RECORDS:
            raise _invalid_pax_header()
        if keyword in _USED_KEYWORDS:
            keywords[keyword] = value
    if parts:
        keywords[SPARSE_MAP] = b",".join(parts)
    return keywords


def pax_number(keywords: dict[bytes, bytes], keyword: bytes, default: float) -> bytes | float:
    """Return a number of a pax header, not yet parsed. Raises ValueError for a very long one."""
    number = keywords.get(keyword, default)
    if isinstance(number, bytes) and len(number) > _MAX_NUMBER_BYTES:
        raise ValueError
    return number


def _records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each keyword with its value."""
    at = 0
    while at < len(content):
        # A record is its own length in digits, a space, a keyword, "=", a value, a line feed.
        space = content.find(b" ", at, at + _MAX_NUMBER_BYTES)
        digits = content[at : max(space, at)]
        end = at + int(digits) if digits.isdigit() else 0
        equals = content.find(b"=", space, end)
        if not space < end <= len(content) or equals < 0:
            raise _invalid_pax_header()
        yield content[space + 1 : equals], content[equals + 1 : end].removesuffix(b"\n")
        at = end


def _invalid_pax_header() -> Exception:
    return invalid_archive("has an invalid pax header")
