"""Describe the token that a client sends with each request."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from resop.security.identity import Identity
from resop.security.scope import Scope

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
    scope: Scope | None = None
    """The scope of an API key; None if the policy is the only limit."""
    api_key: bool = False
    """True if the caller has shown an API key: a program, not a person who has logged in."""

    @property
    def identity(self) -> Identity:
        """The user of the token."""
        return Identity(self.username, self.cluster)

    @property
    def expires_at(self) -> datetime:
        """The time of the end, UTC."""
        return datetime.fromtimestamp(self.expires, UTC)

    def as_json(self) -> dict[str, Any]:
        """Return the content of the token of a login, as the client gets it, encrypted."""
        return {
            "username": self.username,
            "cluster": self.cluster,
            "credential": self.credential,
            "key_share": self.key_share,
            "expires": self.expires,
            "worker": self.worker,
        }


def new_key_share() -> str:
    """Return a new random key share, hex."""
    return secrets.token_hex(KEY_SHARE_BYTES)
