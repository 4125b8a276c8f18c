"""The path of a file or folder in a request: in its address, or in the query, byte for byte.

Proxies decode `%2F`, merge slashes and refuse some escapes. So an absolute path has two forms that
pass everywhere: `/files/-/etc/hosts` and `/files?path=/etc/hosts`. The forms `/files//etc/hosts`
and `/files/%2Fetc/hosts` are understood as well, if they arrive as they are.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.types import Scope

from resop.errors import InvalidOptions

HOME, ROOT = b"~", b"-"
"""The first name of a path in an address that begins in the home folder, or in the root folder."""
MAX_PATH_BYTES = 4096


class RequestedPath(NamedTuple):
    """A path on the cluster, as a request names it."""

    path: bytes
    """Absolute, or relative to the home folder."""
    explicit: bool
    """False if a proxy may have made this relative path of an absolute one."""


def requested_path(scope: Scope) -> RequestedPath:
    """Return the path in a request for a file or folder.

    Raises InvalidOptions for a path that is impossible, or that is missing or given twice.
    """
    in_address = scope["raw_path"].split(b"/", 2)[2:]
    in_query = _in_query(scope)
    if in_query and (len(in_query) > 1 or any(in_address)):
        raise _fault("is given twice: in the address and in the query, or twice in the query")
    if any(in_query):
        found = RequestedPath(_from_query(in_query[0]), explicit=True)
    elif in_address:
        found = _from_address(unquote_to_bytes(in_address[0]))
    else:
        raise _fault("is missing: ?path=/scratch/x is absolute, ?path=x is in your home folder")
    if b"\0" in found.path:
        raise _fault("must not contain a NUL byte")
    if len(found.path) > MAX_PATH_BYTES:
        raise _fault(f"must have at most {MAX_PATH_BYTES} bytes")
    return found


def _from_address(text: bytes) -> RequestedPath:
    first, _, rest = text.partition(b"/")
    if first == HOME:
        return RequestedPath(rest.lstrip(b"/") or b".", explicit=True)
    if first == ROOT:
        return RequestedPath(b"/" + rest.lstrip(b"/"), explicit=True)
    # A proxy that merges slashes removes dots as well, so there was none.
    explicit = first in (b"", b".", b"..")
    return RequestedPath(text or b".", explicit)


def _from_query(text: bytes) -> bytes:
    first, _, rest = text.partition(b"/")
    return (rest.lstrip(b"/") if first == HOME else text) or b"."


def _in_query(scope: Scope) -> list[bytes]:
    # Latin-1 keeps every byte.
    query = scope["query_string"].decode("latin-1")
    pairs = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    return [value.encode("latin-1") for name, value in pairs if name == "path"]


def _fault(message: str) -> InvalidOptions:
    return InvalidOptions.of("path", message)
