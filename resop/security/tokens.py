"""Describe the token that a client shows."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

KEY_SHARE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """What a token carries."""

    username: str
    cluster: str
    credential: str
    """Id of the credential in the database."""
    key_share: str
    """Hex; the half of the credential's seal that the database does not hold."""
    expires: int
    """Unix time in seconds."""
    worker: str = ""
    """The worker that holds its session, where there is no other way."""

    @property
    def expires_at(self) -> datetime:
        """When it ends, UTC."""
        return datetime.fromtimestamp(self.expires, UTC)


def new_key_share() -> str:
    """A fresh half for a token, hex."""
    return secrets.token_hex(KEY_SHARE_BYTES)
