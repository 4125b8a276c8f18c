"""`resop keys`: list logins, and end them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime

from cli.audit_entries import record_command
from cli.database import open_database
from resop.access.login_administration import LoginAdministration
from resop.config.settings import Settings
from resop.errors import SetupError
from resop.messaging.publisher import EventPublisher
from resop.plain_text import one_line
from resop.security.certificate_serial import certificate_serial
from resop.security.encryption import Encryptor
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.login_ends import LoginEnds
from resop.storage.models import Credential

ROW = "{:36}  {:16}  {:16}  {:11}  {:20}  {:20}"
TITLES = ("ID", "USER", "CLUSTER", "KIND", "FROM", "UNTIL")
USE = "  {:17}  {:15}  {}"
USE_TITLES = ("LAST USED", "ADDRESS", "USER AGENT")
"""Left out where nothing is known: logins of an earlier release."""
REVOKED = "revoked by an administrator"


def list_keys(settings: Settings, user: str | None) -> None:
    """Print the live logins of one user (`name@cluster`, or a name on every cluster), or of all."""
    with open_database(settings) as database:
        live = CredentialStore(database).live(user)
    known = any(each.address or each.user_agent or each.last_used_at for each in live)
    print(ROW.format(*TITLES) + (USE.format(*USE_TITLES) if known else ""))
    for each in live:
        print(_row(each) + (_use(each) if known else ""))


def print_revoked_certificates(settings: Settings) -> None:
    """Print the serials of revoked certificates, as `ssh-keygen -k` reads them."""
    with open_database(settings) as database:
        for each in CredentialStore(database).revoked_certificates():
            print(f"serial: {certificate_serial(each)}")


def revoke_keys(
    settings: Settings, ids: Sequence[str], user: str | None, *, keep_running: bool = False
) -> None:
    """End the logins with these ids, or all logins of a user, and print each.

    What runs on them ends too, unless `keep_running`. Raises SetupError for an id that is not that
    of a live login, after the others are ended.
    """
    with open_database(settings) as database, login_administration(settings, database) as logins:
        live = {each.id for each in CredentialStore(database).live(user)}
        chosen = list(ids) if ids else sorted(live)
        known = [each for each in chosen if each in live]
        ended = logins.end(known, REVOKED, keep_running=keep_running)
        revoked = {each.id for each in ended}
        if ended:
            whose = sorted({f"{each.username}@{each.cluster}" for each in ended})
            options = {"users": whose, "logins": sorted(revoked), "keep_running": keep_running}
            record_command(settings, database, "revoke", options)
    for each in sorted(revoked):
        print(f"{each} is revoked")
    if unknown := [each for each in chosen if each not in revoked]:
        raise SetupError(f"there is no live login {', '.join(unknown)}; `resop keys` lists them")


@contextlib.contextmanager
def login_administration(settings: Settings, database: Database) -> Iterator[LoginAdministration]:
    """Yield what ends logins; without Redis, it says so and the service notices within seconds."""
    encryptor = Encryptor(settings.secret_key(), settings.previous_secret_key())
    publisher = EventPublisher(settings.redis_url, encryptor.message_keys)
    with contextlib.closing(publisher):
        yield LoginAdministration(LoginEnds(database), publisher)


def _row(credential: Credential) -> str:
    return ROW.format(
        credential.id,
        one_line(credential.username),
        one_line(credential.cluster),
        credential.kind,
        _utc(credential.created_at),
        _utc(credential.expires_at),
    )


def _use(credential: Credential) -> str:
    used = credential.last_used_at
    minute = f"{used:%Y-%m-%dT%H:%MZ}" if used else "-"
    address, agent = one_line(credential.address), one_line(credential.user_agent)
    return USE.format(minute, address or "-", agent or "-")


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
