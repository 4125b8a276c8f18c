"""Check the names in an archive that a user sends: none may lead out of the folder."""

from __future__ import annotations

from resop.errors import InvalidOptions

MAX_NAME_BYTES = 4095
"""The longest name, and the longest target of a link: Linux takes no longer path."""
MAX_NAME_DEPTH = 250
"""How many folders deep a name may be: each of them is made by a request of its own."""


def check_entry_name(name: bytes) -> bytes:
    """Return the name without empty parts and ".".

    Raises InvalidOptions for a name that leads out of the folder, or is too long or too deep.
    """
    if len(name) > MAX_NAME_BYTES:
        raise invalid_archive(f"has a name of {len(name)} bytes: {display_name(name)}…")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if name.startswith(b"/") or b".." in parts:
        raise invalid_archive(f"leads out of the folder: {display_name(name)}")
    if len(parts) > MAX_NAME_DEPTH:
        raise invalid_archive(f"has a name {len(parts)} folders deep: {display_name(name)}…")
    return b"/".join(parts)


def invalid_archive(fault: str) -> InvalidOptions:
    """Return the error for an archive that cannot be unpacked."""
    return InvalidOptions.of("body", fault)


def display_name(name: bytes) -> str:
    """Return a name as text for an error message, at most 200 bytes of it."""
    return name[:200].decode("utf-8", "replace")
