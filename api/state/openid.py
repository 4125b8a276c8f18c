"""Believes tokens of the site's OpenID Connect issuer: signature, issuer, audience, time, user.

Source: OpenID Connect Core 1.0, 3.1.3.7 (ID Token Validation), and RFC 7517 for the keys.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from resop.config.settings import Settings
from resop.errors import ClusterError, LoginRefused

# None of a shared secret: an issuer's public key must never count as one.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
KEYS_SECONDS = 600.0
"""So long the issuer's keys are believed before they are read again."""
FETCH_SECONDS = 10.0
LONGEST = 16_384
LONGEST_KEYS = 1 << 20
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
            except TimeoutError:
                raise _unread(f"not within {FETCH_SECONDS:g} s") from None
            except (OSError, JoseError) as fault:
                raise _unread(str(fault)) from fault
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
                raise _unread(f"they are no JSON Web Key Set ({fault})") from fault
            self._read_at = time.monotonic()
        return self._keys

    def _read(self) -> bytes:
        if self._source.startswith("https://"):
            return asyncio.run(_fetch(self._source))
        return Path(self._source).read_bytes()


def _unread(why: str) -> ClusterError:
    return ClusterError(f"the issuer's keys cannot be read: {why}")


async def _fetch(address: str) -> bytes:
    """What stands at an address; raises OSError, TimeoutError too, whatever is wrong with it."""
    import httpx  # not everybody's: most sites have no issuer

    content = b""
    try:
        # The system's certificates, or SSL_CERT_FILE. A redirect is an error: it might leave https.
        async with (
            asyncio.timeout(FETCH_SECONDS),  # of all together; httpx would count each read
            httpx.AsyncClient(verify=ssl.create_default_context(), timeout=FETCH_SECONDS) as client,
            client.stream("GET", address) as answer,
        ):
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > LONGEST_KEYS:
                    raise OSError(f"{address} gives more than {LONGEST_KEYS} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as fault:
        raise OSError(str(fault) or type(fault).__name__) from fault
    return content
