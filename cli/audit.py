"""`resop audit`: print the audit log as a list for people, or export it as NDJSON or CSV."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from cli.database import open_database
from resop.config.settings import Settings
from resop.errors import SetupError
from resop.storage.audit_log import AuditFilter, AuditLog
from resop.storage.models import AuditEntry, RequestOutcome
from resop.storage.serializers import iso_time

TEXT_LIMIT = 50
"""Entries listed for people unless --limit says otherwise."""
FORMULA_STARTS = tuple("=+-@\t\r")
"""Characters that make a spreadsheet calculate a cell."""


def audit(settings: Settings, arguments: argparse.Namespace) -> None:
    """Print the entries that match, newest first.

    Raises SetupError for a malformed time, RecordsUnavailable.
    """
    entry_filter = AuditFilter(
        user=arguments.user,
        action=arguments.action,
        outcome=RequestOutcome(arguments.outcome) if arguments.outcome else None,
        task=arguments.task,
        since=_time("--since", arguments.since),
        until=_time("--until", arguments.until),
    )
    limit = arguments.limit or (TEXT_LIMIT if arguments.format == "text" else None)
    with open_database(settings) as database:
        entries = AuditLog(database).all_entries(entry_filter, arguments.before)
        for line in FORMATS[arguments.format](itertools.islice(entries, limit)):
            sys.stdout.write(line)


def _text_lines(entries: Iterator[AuditEntry]) -> Iterator[str]:
    entry = None
    for entry in entries:
        fields = [
            entry.at.isoformat(" ", "milliseconds"),
            f"{_printable(_user(entry)) or '-'} from {_printable(entry.address)}",
            entry.outcome,
            entry.error or entry.task or "",
            _printable(entry.action or f"{entry.method} {entry.path}"),
            _printable(_options_json(entry)),
        ]
        yield f"{' '.join(filter(None, fields))}\n"
    if entry is not None:
        yield f"older entries: --before {shlex.quote(entry.id)}\n"


def _user(entry: AuditEntry) -> str:
    named = entry.username and entry.cluster
    return f"{entry.username}@{entry.cluster}" if named else entry.username


def _ndjson_lines(entries: Iterator[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        yield f"{json.dumps(_jsonable(entry), ensure_ascii=False)}\n"


def _csv_lines(entries: Iterator[AuditEntry]) -> Iterator[str]:
    """Write CSV (RFC 4180); the column `options` holds JSON."""
    yield _csv_row(list(AuditEntry.model_fields))
    for entry in entries:
        options = _options_json(entry) or None
        yield _csv_row(list((_jsonable(entry) | {"options": options}).values()))


FORMATS: dict[str, Callable[[Iterator[AuditEntry]], Iterator[str]]] = {
    "text": _text_lines,
    "ndjson": _ndjson_lines,
    "csv": _csv_lines,
}


def _options_json(entry: AuditEntry) -> str:
    return json.dumps(entry.options, ensure_ascii=False) if entry.options else ""


def _jsonable(entry: AuditEntry) -> dict[str, Any]:
    return entry.model_dump() | {"at": iso_time(entry.at)}


def _csv_row(values: list[Any]) -> str:
    row = io.StringIO()
    csv.writer(row).writerow([_inert(each) for each in values])
    return row.getvalue()


def _inert(value: Any) -> Any:
    """Quote text that a spreadsheet would calculate: anybody can try to log in as `=…`."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def _printable(text: str) -> str:
    """Replace control characters: a request's text must not move the reader's cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _time(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SetupError(
            f"{option}: {text!r} is not a time; write it as 2026-11-25T08:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
