"""Audit entries of the commands that change something, in chains of their own."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resop.config.settings import Settings
from resop.security.encryption import Encryptor
from resop.storage.audit_log import AuditLog
from resop.storage.audit_stream import streamed_chain
from resop.storage.database import Database
from resop.storage.models import AuditEntry, RequestOutcome, now

METHOD = "CLI"
"""The method of entries that no HTTP request made."""


@contextmanager
def open_audit_log(settings: Settings, database: Database, program: str) -> Iterator[AuditLog]:
    """Open the audit log with a chain for what a command does; the chain ends with the context."""
    key = Encryptor(settings.secret_key(), settings.previous_secret_key()).audit_key
    chain, streams = streamed_chain(key, program, settings.AUDIT_FILE, settings.AUDIT_SYSLOG)
    for stream in streams:
        stream.start()
    log = AuditLog(database, chain)
    try:
        yield log
    finally:
        log.checkpoint(end=True)
        for stream in streams:
            stream.stop()


def record_command(
    settings: Settings, database: Database, name: str, options: Mapping[str, Any]
) -> None:
    """Write the entry of a command that has changed something, such as `block`."""
    entry = AuditEntry(
        at=now(),
        address="local",
        method=METHOD,
        path="",
        action=f"resop:{name}",
        options={**options, "by": administrator()},
        outcome=RequestOutcome.DONE,
        status=0,
    )
    with open_audit_log(settings, database, f"resop {name}") as log:
        log.add(entry)


def administrator() -> str:
    """Return the account that runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return "unknown"
