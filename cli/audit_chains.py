"""`resop audit verify`, `export` and `prune`: the chains of the audit log, and their retention."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cli.audit import parse_time
from cli.audit_entries import open_audit_log
from cli.database import open_database
from resop.config.settings import Settings
from resop.errors import SetupError
from resop.plain_text import one_line
from resop.security.encryption import Encryptor
from resop.storage.audit_chain import ChainKey
from resop.storage.audit_export import entries_of, export_entries, read_export
from resop.storage.audit_log import AuditLog
from resop.storage.audit_retention import exported_file, prune
from resop.storage.audit_verify import ChainVerifier, verify_database, verify_lines
from resop.storage.database import Database
from resop.storage.models import now


class _Opened(NamedTuple):
    database: Database
    log: AuditLog
    keys: list[ChainKey]


def verify(settings: Settings, arguments: argparse.Namespace) -> None:
    """Verify the database, or files of the stream against it; exit with 1 if anything is wrong."""
    with open_database(settings) as database:
        keys = _keys(_encryptor(settings))
        faults = _report("the audit log", verify_database(database, keys))
        for name in arguments.file:
            entries = entries_of(Path(name))
            faults += _report(name, verify_lines(entries, keys, database))
    if faults:
        sys.exit(1)


def export(settings: Settings, arguments: argparse.Namespace) -> None:
    """Write the entries from before a date to a new file."""
    before = _date(arguments.before)
    with _opened(settings) as (database, log, keys):
        done = export_entries(database, log, keys, before, Path(arguments.to))
    print(f"{arguments.to}: {done.export.entries} entries")
    for fault in done.faults:
        print(f"LEFT OUT: {one_line(fault)}", file=sys.stderr)
    if done.faults:
        sys.exit(1)


def prune_exported(settings: Settings, arguments: argparse.Namespace) -> None:
    """Delete the entries from before a date that are in a verified export."""
    before = _date(arguments.before)
    with _opened(settings) as (database, log, keys):
        file = Path(arguments.file) if arguments.file else exported_file(database, before)
        exported = read_export(file, keys)
        if exported.before != before:
            raise SetupError(f"{file} was exported with --before {exported.before.isoformat()}")
        deleted = prune(database, log, exported)
    print(f"{deleted} entries deleted; they are in {file}")


def _report(what: str, verifier: ChainVerifier) -> int:
    """Print what a verification found; return the number of faults."""
    verdict = verifier.verdict
    for fault in verdict.faults:
        print(f"BROKEN: {one_line(fault)}")
    for chain in verdict.open_chains:
        print(f"without an end (running, killed, or its end is missing): {one_line(chain)}")
    if verdict.lost:
        print(f"{verdict.lost} entries were not written: the database was unavailable")
    if verdict.unchained:
        print(f"{verdict.unchained} entries are from before there were chains")
    state = "BROKEN" if verdict.faults else "ok"
    print(f"{what}: {state}, {verdict.entries} entries in {verdict.writers} chains")
    return len(verdict.faults)


@contextmanager
def _opened(settings: Settings) -> Iterator[_Opened]:
    """Open the database and a chain for what this command does."""
    keys = _keys(_encryptor(settings))
    with (
        open_database(settings) as database,
        open_audit_log(settings, database, "resop audit") as log,
    ):
        yield _Opened(database, log, keys)


def _encryptor(settings: Settings) -> Encryptor:
    return Encryptor(settings.secret_key(), settings.previous_secret_key())


def _keys(encryptor: Encryptor) -> list[ChainKey]:
    found = [encryptor, *([encryptor.previous] if encryptor.previous else [])]
    return [ChainKey(each.audit_key) for each in found]


def _date(text: str) -> datetime:
    before = parse_time("--before", text)
    assert before is not None
    if before > now():
        raise SetupError(f"--before: {text} is in the future")
    return before
