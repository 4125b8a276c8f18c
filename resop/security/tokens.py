"""Describe the token that a client sends with each request."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from resop.security.identity import Identity

KEY_SHARE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """The content of a token."""

    username: str
    cluster: str
    credential: str
    """The id of the credential in the database."""
    key_share: str
    """The part of the credential's key that the database does not hold, hex."""
    expires: int
    """The Unix time of the end, in seconds."""
    worker: str = ""
    """The worker that holds the session, for a cluster with `CLUSTER_LOGIN=held`."""

    @property
    def identity(self) -> Identity:
        """The user of the token."""
        return Identity(self.username, self.cluster)

    @property
    def expires_at(self) -> datetime:
        """The time of the end, UTC."""
        return datetime.fromtimestamp(self.expires, UTC)


def new_key_share() -> str:
    """Return a new random key share, hex."""
    return secrets.token_hex(KEY_SHARE_BYTES)
