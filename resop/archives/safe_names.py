"""Names of the members of an archive that somebody sends: none leads out of its folder."""

from __future__ import annotations

from resop.errors import InvalidOptions


def check_entry_name(name: bytes) -> bytes:
    """A name without what means nothing; InvalidOptions for one that leads out."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if name.startswith(b"/") or b".." in parts:
        raise invalid_archive(f"leads out of the folder: {display_name(name)}")
    return b"/".join(parts)


def invalid_archive(fault: str) -> InvalidOptions:
    """The error for an archive that is not unpacked."""
    return InvalidOptions([{"field": "body", "message": fault}])


def display_name(name: bytes) -> str:
    """A name as an error tells it."""
    return name[:200].decode("utf-8", "replace")
