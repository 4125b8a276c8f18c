"""Believes tokens of the site's OpenID Connect issuer: signature, issuer, audience, time, user.

Source: OpenID Connect Core 1.0, 3.1.3.7 (ID Token Validation), and RFC 7517 for the keys.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from resop.errors import ClusterError, LoginRefused
from resop.settings import Settings

# None of a shared secret: an issuer's public key must never count as one.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
KEYS_SECONDS = 600.0
"""So long the issuer's keys are believed before they are read again."""
FETCH_SECONDS = 10
LONGEST = 16_384
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,63}")


class OpenID:
    """The issuer that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.OIDC_ISSUER
        self._audience = settings.OIDC_AUDIENCE or ""
        self._source = settings.OIDC_KEYS or ""
        self._claim = settings.OIDC_CLAIM
        self._keys: KeySet | None = None
        self._read_at = 0.0

    def user_of(self, token: str) -> str:
        """The cluster's user that a token names; LoginRefused when it is not to be believed.

        Blocks while the issuer's keys are read.
        """
        if not self._issuer or len(token) > LONGEST:
            raise LoginRefused("no issuer of tokens is trusted" if not self._issuer else None)
        claims = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )
        try:
            decoded = jwt.decode(token, self._current(), algorithms=ALGORITHMS)
            claims.validate(decoded.claims)
        except (JoseError, ValueError) as fault:
            # The kind alone: what it says may hold parts of the token.
            raise LoginRefused(f"the token is not believed: {type(fault).__name__}") from None
        user = decoded.claims.get(self._claim)
        if not isinstance(user, str) or not _USER.fullmatch(user) or user == "root":
            raise LoginRefused(f"the token's {self._claim} is no user of the cluster")
        return user

    def _current(self) -> KeySet:
        if self._keys is None or time.monotonic() - self._read_at > KEYS_SECONDS:
            try:
                self._keys = KeySet.import_key_set(json.loads(self._read()))
            except (OSError, ValueError, JoseError, TypeError, KeyError) as fault:
                raise ClusterError(f"the issuer's keys cannot be read: {fault}") from fault
            self._read_at = time.monotonic()
        return self._keys

    def _read(self) -> bytes:
        if self._source.startswith("https://"):
            with urllib.request.urlopen(self._source, timeout=FETCH_SECONDS) as answer:  # noqa: S310
                content: bytes = answer.read(1 << 20)
                return content
        return Path(self._source).read_bytes()
