"""`resop audit`: print the audit log as a list for people, or as NDJSON or CSV."""

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

from cli.audit_batch import batch_lines, item_lines
from cli.database import open_database
from resop.config.settings import Settings
from resop.errors import SetupError
from resop.plain_text import inert_cell, one_line
from resop.storage.audit_export import entry_json
from resop.storage.audit_log import AuditFilter, AuditLog
from resop.storage.models import AuditEntry, RequestOutcome

TEXT_LIMIT = 50
"""Entries listed for people unless --limit says otherwise."""
JOINED_AT_ONCE = 200
"""Entries whose tasks are read in one query."""
STATE = "task_state"
"""The field for how far the entry's task is; it is not part of the entry."""

Shown = tuple[AuditEntry, str | None]
"""An entry, and how far its task is; None without a task, or if it was deleted."""


def audit(settings: Settings, arguments: argparse.Namespace) -> None:
    """Print the entries that match, newest first.

    Raises SetupError for a malformed time, RecordsUnavailable.
    """
    entry_filter = AuditFilter(
        user=arguments.user,
        action=arguments.action,
        outcome=RequestOutcome(arguments.outcome) if arguments.outcome else None,
        task=arguments.task,
        since=parse_time("--since", arguments.since),
        until=parse_time("--until", arguments.until),
        acting=arguments.acting,
        marks=arguments.marks,
    )
    limit = arguments.limit or (TEXT_LIMIT if arguments.format == "text" else None)
    with open_database(settings) as database:
        if arguments.batch:
            sys.stdout.writelines(batch_lines(database, arguments.batch))
            return
        log = AuditLog(database)
        entries = itertools.islice(log.all_entries(entry_filter, arguments.before), limit)
        for line in FORMATS[arguments.format](_with_states(log, entries)):
            sys.stdout.write(line)
        if arguments.task and arguments.format == "text":
            sys.stdout.writelines(item_lines(database, arguments.task))


def _with_states(log: AuditLog, entries: Iterator[AuditEntry]) -> Iterator[Shown]:
    while page := list(itertools.islice(entries, JOINED_AT_ONCE)):
        states = log.task_states(page)
        yield from ((entry, states.get(entry.task or "")) for entry in page)


def _text_lines(shown: Iterator[Shown]) -> Iterator[str]:
    entry = None
    for entry, state in shown:
        yield text_line(entry, state)
    if entry is not None:
        yield f"older entries: --before {shlex.quote(entry.id)}\n"


def _user(entry: AuditEntry) -> str:
    named = entry.username and entry.cluster
    return f"{entry.username}@{entry.cluster}" if named else entry.username


def text_line(entry: AuditEntry, state: str | None) -> str:
    """Return the line of an entry for people."""
    fields = [
        entry.at.isoformat(" ", "milliseconds"),
        f"{one_line(_user(entry)) or '-'} from {one_line(entry.address)}",
        entry.outcome,
        entry.error or entry.task or "",
        f"({state})" if state else "",
        one_line(entry.action or f"{entry.method} {entry.path}"),
        f"{entry.count} times" if entry.count else "",
        one_line(_json_text(entry.options)),
        one_line(_json_text(entry.items)),
    ]
    return f"{' '.join(filter(None, fields))}\n"


def _ndjson_lines(shown: Iterator[Shown]) -> Iterator[str]:
    for entry, state in shown:
        yield f"{json.dumps(entry_json(entry) | {STATE: state})}\n"


def _csv_lines(shown: Iterator[Shown]) -> Iterator[str]:
    """Write CSV (RFC 4180); the columns `options` and `items` hold JSON."""
    yield _csv_row([*AuditEntry.model_fields, STATE])
    for entry, state in shown:
        texts = {name: _json_text(getattr(entry, name)) or None for name in ("options", "items")}
        yield _csv_row([*(entry_json(entry) | texts).values(), state])


FORMATS: dict[str, Callable[[Iterator[Shown]], Iterator[str]]] = {
    "text": _text_lines,
    "ndjson": _ndjson_lines,
    "csv": _csv_lines,
}


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


def _csv_row(values: list[Any]) -> str:
    row = io.StringIO()
    csv.writer(row).writerow([inert_cell(each) for each in values])
    return row.getvalue()


def parse_time(option: str, text: str | None) -> datetime | None:
    """Return the time of an option, UTC without a zone. Raises SetupError if it is none."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SetupError(
            f"{option}: {text!r} is not a time; write it as 2026-11-25T08:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
