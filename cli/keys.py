"""Lists the credentials of those who are logged in, and ends them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime

import redis

from resop.config.settings import Settings
from resop.messaging.publisher import LOGGED_OUT
from resop.storage.models import Credential
from resop.storage.tasks import Records

LINE = "{:36}  {:16}  {:16}  {:11}  {:20}  {:20}"


def list_keys(settings: Settings, username: str | None) -> None:
    """Print the live ones, of one user or of all."""
    print(LINE.format("ID", "USER", "CLUSTER", "KIND", "FROM", "UNTIL"))
    for each in _records(settings).credentials(username):
        print(_line(each))


def revoke_keys(settings: Settings, ids: Sequence[str], username: str | None) -> None:
    """End some, or all of a user; says which. Exit code 1 when an id is not a live one's."""
    records = _records(settings)
    live = {each.id for each in records.credentials(username)}
    chosen = list(ids) if ids else sorted(live)
    ended = [each for each in chosen if each in live and records.revoke(each)]
    _tell(settings, ended)
    for each in ended:
        print(f"{each} is revoked")
    if unknown := [each for each in chosen if each not in ended]:
        sys.exit(f"resop: no live credential: {', '.join(unknown)}")


def _tell(settings: Settings, ended: Sequence[str]) -> None:
    """Every API process and worker hears of it at once, or else within a minute."""
    try:
        with redis.Redis.from_url(settings.redis_url, socket_timeout=5) as client:
            for each in ended:
                client.publish(LOGGED_OUT, each)
    except (redis.RedisError, OSError):
        print("Redis is away: they are refused within a minute", file=sys.stderr)


def _records(settings: Settings) -> Records:
    records = Records(settings.database_url)
    records.create_tables()
    return records


def _line(credential: Credential) -> str:
    began, ends = _iso(credential.created_at), _iso(credential.expires_at)
    who = credential.id, credential.username, credential.cluster
    return LINE.format(*who, credential.kind, began, ends)


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
