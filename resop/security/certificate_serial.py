"""The serial number of a login's certificate, by which a cluster can revoke it."""

from __future__ import annotations

from uuid import UUID


def certificate_serial(credential_id: str) -> int:
    """Return the serial of a credential's certificate: the random half of its UUID, 64 bits."""
    return UUID(credential_id).int & (2**64 - 1)
