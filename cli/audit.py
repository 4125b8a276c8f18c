"""`resop audit`: the audit table as a list for people, or as NDJSON or CSV for programs."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from resop.config.settings import Settings
from resop.errors import SetupError
from resop.storage.audit_log import AuditEntry, AuditFilter, AuditLog, RequestOutcome
from resop.storage.tasks import Records

PAGE = 50


def audit(settings: Settings, asked: argparse.Namespace) -> None:
    """Print the entries that are asked for, newest first.

    Raises SetupError for a time that is none, RecordsUnavailable.
    """
    wanted = AuditFilter(
        username=asked.user,
        action=asked.action,
        outcome=RequestOutcome(asked.outcome) if asked.outcome else None,
        task=asked.task,
        since=_moment("--since", asked.since),
        until=_moment("--until", asked.until),
    )
    limit = asked.limit or (PAGE if asked.format == "text" else None)
    with closing(Records(settings.database_url)) as records:
        records.create_tables()
        found = AuditLog(records).all_entries(wanted, asked.before)
        for line in FORMATS[asked.format](itertools.islice(found, limit)):
            sys.stdout.write(line)


def _as_text(entries: Iterator[AuditEntry]) -> Iterator[str]:
    entry = None
    for entry in entries:
        what = entry.action or f"{entry.method} {entry.path}"
        options = json.dumps(entry.options, ensure_ascii=False) if entry.options else ""
        became = entry.error or entry.task or ""
        who = f"{_printable(entry.username) or '-'} from {_printable(entry.address)}"
        words = [entry.at.isoformat(" ", "milliseconds"), who, entry.outcome, became]
        yield " ".join(each for each in [*words, _printable(what), _printable(options)] if each)
        yield "\n"
    if entry is not None:
        yield f"older ones: --before {shlex.quote(entry.id)}\n"


def _as_ndjson(entries: Iterator[AuditEntry]) -> Iterator[str]:
    for entry in entries:
        yield f"{json.dumps(_shown(entry), ensure_ascii=False)}\n"


def _as_csv(entries: Iterator[AuditEntry]) -> Iterator[str]:
    """RFC 4180; options are JSON."""
    yield _row(list(AuditEntry.model_fields))
    for entry in entries:
        options = json.dumps(entry.options, ensure_ascii=False) if entry.options else None
        yield _row(list((_shown(entry) | {"options": options}).values()))


FORMATS: dict[str, Callable[[Iterator[AuditEntry]], Iterator[str]]] = {
    "text": _as_text,
    "ndjson": _as_ndjson,
    "csv": _as_csv,
}


def _shown(entry: AuditEntry) -> dict[str, Any]:
    return entry.model_dump() | {"at": entry.at.isoformat().replace("+00:00", "Z")}


def _row(values: list[Any]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow([_inert(each) for each in values])
    return written.getvalue()


def _inert(value: Any) -> Any:
    """Anybody can try to log in as `=…`, and a spreadsheet would calculate that."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def _printable(text: str) -> str:
    """What a request sent is not to move the cursor of who reads this."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SetupError(f"{option}: {text!r} is no time such as 2026-11-25T08:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
