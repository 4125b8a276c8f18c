"""Make and delete API keys: each has a credential of its own on the cluster."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool

from api.auth.credentials import CREDENTIAL_KINDS, LoginData, private_key
from api.auth.login_ending import end_logins
from api.state.services import Services
from resop.errors import (
    InvalidOptions,
    NotPermitted,
    ResopError,
    SessionExpired,
    SessionHeldByWorker,
    UnknownApiKey,
)
from resop.security.api_keys import ApiKeyText
from resop.security.scope import Scope
from resop.security.tokens import Token
from resop.storage.ids import new_id
from resop.storage.models import ApiKey, Credential, now

DEFAULT_LIFETIME = timedelta(days=30)


class NewApiKey(NamedTuple):
    """A key that was just made; its text is shown once."""

    key: ApiKey
    text: str


class Owner(NamedTuple):
    """The columns that a key and its credential have in common."""

    id: str
    username: str
    cluster: str
    expires_at: datetime


async def create_api_key(
    services: Services, token: Token, name: str, scope: Scope, expires_at: datetime | None
) -> NewApiKey:
    """Make a key for the caller, with a credential like that of a login, until its own end.

    Raises NotPermitted if the site or the cluster has no API keys, InvalidOptions for an end that
    is not allowed, LimitReached, and what a login raises.
    """
    expires = _end(services, expires_at)
    login = await _login_of(services, token)
    cluster = services.settings.cluster(token.cluster)
    if "held" in (login.kind, cluster.login):
        raise SessionHeldByWorker(
            f"{cluster.name} accepts no key of this service, only connections that a person has "
            "logged in: there can be no API keys"
        )
    text = ApiKeyText.new(new_id())
    owner = Owner(text.id, token.username, token.cluster, expires)
    credential = Credential(**owner._asdict(), kind=cluster.login)
    own_key = private_key(services, token, login)
    share = text.key_share
    data = LoginData(cluster, token.username, None, None, share, private_key=own_key)
    kind = CREDENTIAL_KINDS[cluster.login](services)
    await kind.create(data, credential)
    key = ApiKey(**owner._asdict(), name=name, digest=text.digest, scope=scope.as_json())
    try:
        await run_in_threadpool(services.storage.api_keys.add, key, credential)
    except ResopError:
        with contextlib.suppress(ResopError):  # then its line expires by itself
            await kind.revoke(token, login, text.id)
        raise
    return NewApiKey(key, text.text)


async def delete_api_key(services: Services, token: Token, key_id: str) -> str | None:
    """End a key of the caller; return why its line could not be removed from the cluster, if so.

    Raises UnknownApiKey, also for another user's key.
    """
    key = await run_in_threadpool(services.storage.api_keys.get, key_id)
    if key is None or (key.username, key.cluster) != (token.username, token.cluster):
        raise UnknownApiKey(f"there is no API key {key_id!r}")
    credential = await run_in_threadpool(services.storage.credentials.get, key_id)
    await end_logins(services, lambda logins: logins.end([key_id], "the API key was deleted"))
    if credential is None:
        return None
    try:
        login = await _login_of(services, token)
        await CREDENTIAL_KINDS[credential.kind](services).revoke(token, login, key_id)
    except ResopError as fault:
        return fault.message
    return None


async def _login_of(services: Services, token: Token) -> Credential:
    login = await run_in_threadpool(services.storage.credentials.get, token.credential)
    if login is None:
        raise SessionExpired
    return login


def _end(services: Services, wished: datetime | None) -> datetime:
    """Return when a new key ends: as wished, or by default, but no later than the site allows."""
    limit = timedelta(days=services.settings.API_KEY_DAYS)
    if not limit:
        raise NotPermitted("this site has no API keys (API_KEY_DAYS=0)")
    begin = now()
    if wished is None:
        return begin + min(limit, DEFAULT_LIFETIME)
    if not begin < wished <= begin + limit:
        days = services.settings.API_KEY_DAYS
        message = f"must be a time in the future, at most {days:g} days from now"
        raise InvalidOptions.of("expires_at", message)
    return wished.astimezone(UTC)
