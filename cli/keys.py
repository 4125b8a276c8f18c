"""`resop keys`: list logins, and end them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from datetime import datetime

from cli.database import open_database
from resop.config.settings import Settings
from resop.errors import QueueUnavailable, SetupError
from resop.messaging.messages import LoggedOut
from resop.messaging.publisher import EventPublisher
from resop.security.encryption import Encryptor
from resop.storage.credentials import CredentialStore
from resop.storage.models import Credential

ROW = "{:36}  {:16}  {:16}  {:11}  {:20}  {:20}"


def list_keys(settings: Settings, user: str | None) -> None:
    """Print the live logins of one user (`name@cluster`, or a name on every cluster), or of all."""
    with open_database(settings) as database:
        print(ROW.format("ID", "USER", "CLUSTER", "KIND", "FROM", "UNTIL"))
        for credential in CredentialStore(database).live(user):
            print(_row(credential))


def revoke_keys(settings: Settings, ids: Sequence[str], user: str | None) -> None:
    """End the logins with these ids, or all logins of a user, and print each.

    Raises SetupError for an id that is not that of a live login, after the others are ended.
    """
    with open_database(settings) as database:
        credentials = CredentialStore(database)
        live = {each.id for each in credentials.live(user)}
        chosen = list(ids) if ids else sorted(live)
        revoked = [each for each in chosen if each in live and credentials.revoke(each)]
    _publish(settings, revoked)
    for each in revoked:
        print(f"{each} is revoked")
    if unknown := [each for each in chosen if each not in revoked]:
        raise SetupError(f"there is no live login {', '.join(unknown)}; `resop keys` lists them")


def _publish(settings: Settings, revoked: Sequence[str]) -> None:
    """Tell the API processes and workers at once; without Redis they notice within a minute."""
    try:
        encryptor = Encryptor(settings.secret_key(), settings.previous_secret_key())
        publisher = EventPublisher(settings.redis_url, encryptor.message_keys)
        with contextlib.closing(publisher):
            publisher.publish(*map(LoggedOut, revoked))
    except QueueUnavailable:
        print("Redis cannot be reached: the tokens are refused within a minute", file=sys.stderr)


def _row(credential: Credential) -> str:
    return ROW.format(
        credential.id,
        credential.username,
        credential.cluster,
        credential.kind,
        _utc(credential.created_at),
        _utc(credential.expires_at),
    )


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
