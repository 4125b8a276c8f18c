"""The OpenID Connect issuer: its addresses (OpenID Connect Discovery 1.0) and its public keys.

Both are read by one task for all requests, and never in the threads that serve requests, so that
an issuer that does not answer holds up only the users who log in with its tokens.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from api.state import openid_http
from api.state.refreshed import Refreshed
from resop.config.settings import Settings
from resop.errors import ClusterError

log = logging.getLogger(__name__)

MIN_RSA_BITS = 2048
DISCOVERY_PATH = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class IssuerMetadata:
    """The addresses that the issuer publishes; one that it does not name is empty."""

    jwks_uri: str
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str


class Issuer:
    """The issuer named by the settings."""

    def __init__(self, settings: Settings) -> None:
        self._issuer = settings.OIDC_ISSUER or ""
        self._source = settings.OIDC_KEYS
        self._metadata = Refreshed(self._read_metadata)
        self._keys = Refreshed(self._read_keys)

    async def metadata(self) -> IssuerMetadata:
        """Return what the issuer publishes. Raises ClusterError if it cannot be read."""
        return await self._metadata.get()

    async def key(self, header: Mapping[str, Any]) -> RSAKey | ECKey | OKPKey | None:
        """Return the key that a token's header names; None if the issuer has no such key.

        An unknown key is looked for once more, since the issuer may have a new one. Raises
        ClusterError if the keys cannot be read.
        """
        if found := _find(await self._keys.get(), header):
            return found
        return _find(await self._keys.newer(), header)

    async def _read_metadata(self) -> IssuerMetadata:
        address = self._issuer.rstrip("/") + DISCOVERY_PATH
        try:
            found = json.loads(await openid_http.fetch(address))
            if not isinstance(found, dict) or found.get("issuer") != self._issuer:
                raise ValueError(f"{address} does not describe OIDC_ISSUER")
            return IssuerMetadata(
                *(_https(found.get(name, "")) for name in IssuerMetadata.__dataclass_fields__)
            )
        except TimeoutError:
            raise _unreadable("configuration", _late()) from None
        except (OSError, ValueError, RecursionError) as fault:
            raise _unreadable("configuration", str(fault)) from fault

    async def _read_keys(self) -> list[RSAKey | ECKey | OKPKey]:
        source = self._source or (await self.metadata()).jwks_uri
        try:
            if source.startswith("https://"):
                content = await openid_http.fetch(source)
            else:
                content = await asyncio.to_thread(Path(source).read_bytes)
            return await asyncio.to_thread(_read_key_set, content)
        except TimeoutError:
            raise _unreadable("keys", _late()) from None
        except (OSError, JoseError) as fault:
            raise _unreadable("keys", str(fault)) from fault
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
            raise _unreadable("keys", f"they are not a JSON Web Key Set ({fault})") from fault


def _read_key_set(content: bytes) -> list[RSAKey | ECKey | OKPKey]:
    """Return the keys of a JWK Set. Blocks: there may be many."""
    return _usable(KeySet.import_key_set(json.loads(content)))


def _usable(keys: KeySet) -> list[RSAKey | ECKey | OKPKey]:
    """Return the keys that may verify a signature: no symmetric ones, and no short ones."""
    usable: list[RSAKey | ECKey | OKPKey] = []
    for key in keys:
        if not isinstance(key, RSAKey | ECKey | OKPKey) or key.get("use", "sig") != "sig":
            continue
        if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
            log.warning("an RSA key of the issuer has fewer than %d bits: ignored", MIN_RSA_BITS)
            continue
        usable.append(key)
    if not usable:
        raise ValueError("No keys for signatures are among them")
    return usable


def _find(
    keys: list[RSAKey | ECKey | OKPKey], header: Mapping[str, Any]
) -> RSAKey | ECKey | OKPKey | None:
    """Return the only key with the header's `kid` and algorithm, if there is one."""
    kid, algorithm = header.get("kid"), header["alg"]
    kind = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}[algorithm[:2]]
    fitting = [
        key
        for key in keys
        if key.key_type == kind
        and (kid is None or key.kid == kid)
        and key.get("alg", algorithm) == algorithm
    ]
    return fitting[0] if len(fitting) == 1 else None


def _https(address: object) -> str:
    """Return an address. Raises ValueError unless it is one of https, or empty."""
    if not isinstance(address, str) or not (address == "" or address.startswith("https://")):
        raise ValueError("it names an address that is not https")
    return address


def _late() -> str:
    return f"no answer within {openid_http.FETCH_SECONDS:g} s"


def _unreadable(what: str, reason: str) -> ClusterError:
    return ClusterError(f"the issuer's {what} cannot be read: {reason}")
