"""The gate: what the two operations of `auth` talk to, since nobody is logged in yet."""

from __future__ import annotations

from typing import Any, Protocol

from resop.types import Secret


class LoginGateway(Protocol):
    """Opens and closes logins.

    An operation whose first parameter is a Gate instead of a Shell runs in the API process:
    a password is never queued.
    """

    async def log_in(
        self, username: str, password: Secret, otp: Secret | None, cluster: str | None
    ) -> dict[str, Any]:
        """Log in over SSH and return the token with who, which cluster, and until when."""

    async def log_in_by_token(self, id_token: Secret, cluster: str | None) -> dict[str, Any]:
        """Log in by a trusted issuer's token; returns the same."""

    async def log_out(self) -> dict[str, Any]:
        """End the caller's token and take its key off the cluster."""
