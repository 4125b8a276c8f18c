"""The login gateway: what the operations of `auth` talk to before anybody is logged in."""

from __future__ import annotations

from typing import Any, Protocol

from resop.types import Secret


class LoginGateway(Protocol):
    """Opens and closes logins.

    An operation whose first parameter is a LoginGateway instead of a Shell is an `async def` and
    runs in the API process, because a password is never queued:

        @operation
        async def login(gateway: LoginGateway, username: str, password: Secret) -> dict[str, Any]:
            return await gateway.log_in(username, password, None, None)
    """

    async def log_in(
        self, username: str, password: Secret, otp: Secret | None, cluster: str | None
    ) -> dict[str, Any]:
        """Log in over SSH. Returns the token with its user, cluster and expiry time.

        Raises LoginRefused, OtpRequired, PasswordExpired, UserBlocked, TooManyAttempts or
        ClusterUnreachable.
        """

    async def log_in_by_token(self, id_token: Secret, cluster: str | None) -> dict[str, Any]:
        """Log in with the token of a trusted issuer. Returns the same as `log_in`."""

    async def renew(self) -> dict[str, Any]:
        """Return a new token for the caller's login, which must not have ended."""

    async def log_out(self, keep_running: bool) -> dict[str, Any]:
        """Revoke the caller's token and remove its key from the cluster.

        Tasks of the login are cancelled unless they are to be kept running.
        """
