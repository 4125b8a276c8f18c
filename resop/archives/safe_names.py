"""Check the names in an archive that a user sends: none may lead out of the folder."""

from __future__ import annotations

from resop.errors import InvalidOptions


def check_entry_name(name: bytes) -> bytes:
    """Return the name without empty parts and ".".

    Raises InvalidOptions for a name that leads out of the folder.
    """
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if name.startswith(b"/") or b".." in parts:
        raise invalid_archive(f"leads out of the folder: {display_name(name)}")
    return b"/".join(parts)


def invalid_archive(fault: str) -> InvalidOptions:
    """Return the error for an archive that cannot be unpacked."""
    return InvalidOptions.of("body", fault)


def display_name(name: bytes) -> str:
    """Return a name as text for an error message, at most 200 bytes of it."""
    return name[:200].decode("utf-8", "replace")
