"""Access tokens of the issuer in place of a token of resop: each becomes a login, once.

The id of that login is derived from the token, and so is the key share, which is stored nowhere.
So all API processes find the same login, also after a restart, and a token whose login was ended
does not become another one.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from starlette.concurrency import run_in_threadpool

from api.auth.credentials import CREDENTIAL_KINDS, LoginData
from api.state.openid_claims import TokenUse
from api.state.services import Services
from resop.errors import LoginRefused, TokenRefused
from resop.security.tokens import KEY_SHARE_BYTES, Token
from resop.storage.models import Credential, now

_JWS_DOTS = 2
"""A JWS has three parts; resop's own token, a JWE, has five."""


def is_jws(text: str) -> bool:
    """Return True if a bearer token is not one of resop's own."""
    return text.count(".") == _JWS_DOTS


async def access_token_login(services: Services, text: str) -> Token:
    """Return the login that an access token stands for, after making it if it is new.

    Raises TokenRefused for a token that is not valid or whose login has ended, ClusterError.
    """
    digest = hashlib.sha256(text.encode()).digest()
    known = services.access.access_tokens.get(digest)
    if known is None:
        known = await services.access.access_tokens.once(
            digest, lambda: _exchange(services, text, str(UUID(bytes=digest[:16], version=5)))
        )
    return known


async def _exchange(services: Services, text: str, credential_id: str) -> Token:
    share = HKDF(SHA256(), KEY_SHARE_BYTES, None, b"resop access token").derive(text.encode()).hex()
    found = await run_in_threadpool(services.storage.credentials.find, credential_id)
    if found is None:
        found = await _log_in(services, text, credential_id, share)
    if found.revoked_at is not None or found.expires_at <= now():
        raise TokenRefused("the login of this access token has ended: get a new token")
    expires = int(found.expires_at.timestamp())
    return Token(found.username, found.cluster, found.id, share, expires)


async def _log_in(services: Services, text: str, credential_id: str, share: str) -> Credential:
    """Verify a new access token and store a credential for it."""
    cluster = services.settings.certificate_cluster()
    if cluster is None:
        raise TokenRefused("no cluster of this service accepts logins by token")
    try:
        verified = await services.access.openid.verify(text, TokenUse.ACCESS)
    except LoginRefused as fault:
        raise TokenRefused(fault.message) from None
    username, minimum_uid = verified.user
    login = LoginData(cluster, username, None, None, share, minimum_uid=minimum_uid)
    credential = Credential(
        id=credential_id,
        username=username,
        cluster=cluster.name,
        kind=cluster.login,
        expires_at=min(
            now() + services.settings.token_lifetime, datetime.fromtimestamp(verified.expires, UTC)
        ),
    )
    await CREDENTIAL_KINDS[cluster.login](services).create(login, credential)
    if await run_in_threadpool(services.storage.credentials.add_first, credential):
        return credential
    # Another process was faster, with the same id and the same key share.
    found = await run_in_threadpool(services.storage.credentials.find, credential_id)
    assert found is not None
    return found
