"""Verify tokens of the site's OpenID Connect issuer: what they say first, then the signature."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from api.state.openid_claims import ClaimRules, NamedUser, TokenUse
from api.state.openid_issuer import Issuer, IssuerMetadata
from resop.clock import unix_time
from resop.config.settings import Settings
from resop.errors import LoginRefused

MAX_TOKEN_LENGTH = 16_384
_FAULTS = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


class VerifiedToken(NamedTuple):
    """The content of a valid token."""

    user: NamedUser
    expires: float
    """Unix time in seconds."""
    acceptable_until: float
    """When it becomes too old to log in with, at the latest when it expires; Unix time."""
    fingerprint: str
    """The same for a token that is presented again, in whatever form."""


class OpenID:
    """The issuer named by the settings, and its tokens."""

    def __init__(self, settings: Settings) -> None:
        """Raise InvalidSettings if OIDC_USERS cannot be read."""
        self.enabled = settings.OIDC_ISSUER is not None
        self._rules = ClaimRules(settings)
        self._issuer = Issuer(settings)

    async def metadata(self) -> IssuerMetadata:
        """Return the issuer's addresses. Raises ClusterError if they cannot be read."""
        return await self._issuer.metadata()

    async def verify(
        self, text: str, use: TokenUse = TokenUse.ID, nonce: str | None = None
    ) -> VerifiedToken:
        """Return what a token says.

        The issuer's keys are asked for only if everything but the signature is right. Raises
        LoginRefused if the token is not valid, and ClusterError if the keys cannot be read.
        """
        if not self.enabled:
            raise LoginRefused("this site does not support logins by token")
        if len(text) > MAX_TOKEN_LENGTH:
            raise LoginRefused(f"the token has more than {MAX_TOKEN_LENGTH} characters")
        header, claims = _parts(text)
        self._rules.check(header, claims, use, unix_time())
        if nonce is not None:
            self._rules.check_nonce(claims, nonce)
        user = self._rules.user_of(claims)
        key = await self._issuer.key(header)
        if key is None:
            raise LoginRefused("the token is not valid: the issuer has no such key")
        try:
            jws.deserialize_compact(text, key, algorithms=[header["alg"]])
        except _FAULTS as fault:
            # Only the type of the error: its text may contain parts of the token.
            raise LoginRefused(f"the token is not valid: {type(fault).__name__}") from None
        expires, oldest = float(claims["exp"]), self._rules.acceptable_until(claims)
        return VerifiedToken(user, expires, oldest, _fingerprint(text, claims))


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of a token, whose signature is not verified yet."""
    try:
        header, claims, signature = text.split(".")
        parts = [json.loads(urlsafe_b64decode(part.encode("ascii"))) for part in (header, claims)]
    except _FAULTS as fault:
        raise LoginRefused(f"the token is not valid: {type(fault).__name__}") from None
    if not signature or not all(isinstance(part, dict) for part in parts):
        raise LoginRefused("the token is not valid: it is not signed JSON")
    return parts[0], parts[1]


def _fingerprint(text: str, claims: dict[str, Any]) -> str:
    # Some signatures have several valid forms, so they are left out.
    name = claims["jti"] if isinstance(claims.get("jti"), str) else text.rpartition(".")[0]
    content = f"{claims['iss']} {name}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()
