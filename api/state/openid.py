"""Verify tokens of the site's OpenID Connect issuer: signature, issuer, audience, time, user.

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

# No symmetric algorithm: an issuer's public key must never be used as a shared secret.
TOKEN_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
KEYS_MAX_AGE = 600.0
"""How long the issuer's keys are used before they are read again, in seconds."""
FETCH_SECONDS = 10.0
"""Time limit for reading the issuer's keys."""
MAX_TOKEN_LENGTH = 16_384
MAX_KEYS_BYTES = 1 << 20
_USER_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,63}")


class OpenID:
    """The issuer named by the settings."""

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.OIDC_ISSUER
        self._audience = settings.OIDC_AUDIENCE or ""
        self._source = settings.OIDC_KEYS or ""
        self._claim = settings.OIDC_CLAIM
        self._keys: KeySet | None = None
        self._read_at = 0.0

    def user_of(self, token: str) -> str:
        """Return the cluster user named by a token. Blocks while the issuer's keys are read.

        Raises LoginRefused if the token is not valid, and ClusterError if the keys cannot be read.
        """
        if not self._issuer:
            raise LoginRefused("this site does not support logins by token")
        if len(token) > MAX_TOKEN_LENGTH:
            raise LoginRefused(f"the token has more than {MAX_TOKEN_LENGTH} characters")
        claims = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
        )
        try:
            decoded = jwt.decode(token, self._current(), algorithms=TOKEN_ALGORITHMS)
            claims.validate(decoded.claims)
        except (JoseError, ValueError) as fault:
            # Only the type of the error: its text may contain parts of the token.
            raise LoginRefused(f"the token is not valid: {type(fault).__name__}") from None
        user = decoded.claims.get(self._claim)
        if not isinstance(user, str) or not _USER_NAME.fullmatch(user) or user == "root":
            raise LoginRefused(
                f"the token's claim {self._claim!r} is not a user name of the cluster"
            )
        return user

    def _current(self) -> KeySet:
        if self._keys is None or time.monotonic() - self._read_at > KEYS_MAX_AGE:
            try:
                self._keys = KeySet.import_key_set(json.loads(self._read()))
            except TimeoutError:
                raise _keys_unavailable(f"no answer within {FETCH_SECONDS:g} s") from None
            except (OSError, JoseError) as fault:
                raise _keys_unavailable(str(fault)) from fault
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
                raise _keys_unavailable(f"they are not a JSON Web Key Set ({fault})") from fault
            self._read_at = time.monotonic()
        return self._keys

    def _read(self) -> bytes:
        if self._source.startswith("https://"):
            return asyncio.run(_fetch(self._source))
        return Path(self._source).read_bytes()


def _keys_unavailable(reason: str) -> ClusterError:
    return ClusterError(f"the issuer's keys cannot be read: {reason}")


async def _fetch(address: str) -> bytes:
    """Return the content at an address. Raises OSError (also TimeoutError) for any failure."""
    import httpx  # imported here, because most sites have no issuer

    content = b""
    try:
        # With the system's certificates, or SSL_CERT_FILE. A redirect is an error, because it could
        # lead to http.
        async with (
            asyncio.timeout(FETCH_SECONDS),  # for everything; the timeout of httpx is for each read
            httpx.AsyncClient(verify=ssl.create_default_context(), timeout=FETCH_SECONDS) as client,
            client.stream("GET", address) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_KEYS_BYTES:
                    raise OSError(f"{address} returned more than {MAX_KEYS_BYTES} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as fault:
        raise OSError(str(fault) or type(fault).__name__) from fault
    return content
