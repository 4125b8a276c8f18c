"""The login gateway: what the operations of `auth` talk to before anybody is logged in."""

from __future__ import annotations

from typing import Annotated, NotRequired, Protocol

from pydantic import Field
from typing_extensions import TypedDict

from resop.types import Secret


class LoginAnswer(TypedDict):
    """The answer to a login: a token, and whose it is."""

    token: Annotated[str, Field(description="send it as `Authorization: Bearer TOKEN`")]
    username: str
    cluster: str
    expires_at: Annotated[str, Field(description="when the token ends (ISO 8601, UTC)")]
    login_expires_at: NotRequired[
        Annotated[str, Field(description="until when the token can be renewed (ISO 8601, UTC)")]
    ]


class LogoutAnswer(TypedDict):
    """The answer to a logout."""

    username: str
    cluster: str
    key_removed: Annotated[bool, Field(description="true if the key is off the cluster")]
    reason: NotRequired[Annotated[str, Field(description="why the key could not be removed")]]
    tasks_continue: NotRequired[
        Annotated[bool, Field(description="true if tasks of this login continue")]
    ]


class LoginGateway(Protocol):
    """Opens and closes logins.

    An operation whose first parameter is a LoginGateway instead of a Shell is an `async def` and
    runs in the API process, because a password is never queued:

        @operation
        async def login(gateway: LoginGateway, username: str, password: Secret) -> LoginAnswer:
            return await gateway.log_in(username, password, None, None)
    """

    async def log_in(
        self, username: str, password: Secret, otp: Secret | None, cluster: str | None
    ) -> LoginAnswer:
        """Log in over SSH. Returns the token with its user, cluster and expiry time.

        Raises LoginRefused, OtpRequired, PasswordExpired, UserBlocked, TooManyAttempts or
        ClusterUnreachable.
        """

    async def log_in_by_token(self, id_token: Secret, cluster: str | None) -> LoginAnswer:
        """Log in with the token of a trusted issuer. Returns the same as `log_in`."""

    async def renew(self) -> LoginAnswer:
        """Return a new token for the caller's login, which must not have ended."""

    async def log_out(self, keep_running: bool) -> LogoutAnswer:
        """Revoke the caller's token and remove its key from the cluster.

        Tasks of the login are cancelled unless they are to be kept running.
        """
