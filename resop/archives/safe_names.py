"""Names of the members of an archive that somebody sends: none leads out of its folder."""

from __future__ import annotations

from resop.errors import InvalidOptions


def inside(name: bytes) -> bytes:
    """A name without what means nothing; InvalidOptions for one that leads out."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if name.startswith(b"/") or b".." in parts:
        raise refused(f"leads out of the folder: {shown(name)}")
    return b"/".join(parts)


def refused(fault: str) -> InvalidOptions:
    """The error for an archive that is not unpacked."""
    return InvalidOptions([{"field": "body", "message": fault}])


def shown(name: bytes) -> str:
    """A name as an error tells it."""
    return name[:200].decode("utf-8", "replace")
