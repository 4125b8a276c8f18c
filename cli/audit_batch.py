"""The items of a batch in the audit log: what each did, to whom, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from resop.errors import SetupError
from resop.plain_text import one_line
from resop.storage.audit_log import AuditFilter, AuditLog, items_digest
from resop.storage.batches import BatchStore
from resop.storage.database import Database
from resop.storage.models import TASK, AuditEntry

PAGE = 500


def batch_lines(database: Database, batch_id: str) -> Iterator[str]:
    """Yield the entry of a batch, and a line for each item with its masked parameters.

    Says whether the items are still the accepted ones. Raises SetupError if there is no entry.
    """
    entry = _entry_of(database, batch_id)
    if entry is None:
        raise SetupError(f"no entry of the audit log has the batch {batch_id}")
    who = f"{one_line(entry.username)}@{one_line(entry.cluster)} from {one_line(entry.address)}"
    yield f"{entry.at.isoformat(' ', 'milliseconds')} {who} {entry.outcome} {entry.action}\n"
    yield f"options: {_text(entry.options)}\n"
    recorded = entry.items or {}
    parameters = []
    for item in _items(database, batch_id):
        parameters.append(item["parameters"])
        yield _item_line(item)
    if parameters:
        same = items_digest(parameters) == recorded.get("sha256")
        yield f"{len(parameters)} items, {'as accepted' if same else 'NOT THOSE ACCEPTED'}\n"
        return
    for number, item in enumerate(recorded.get("first", [])):
        yield f"{number} {_text(item)}\n"
    total, shown = recorded.get("count", 0), len(recorded.get("first", []))
    yield f"{shown} of {total} items; the tasks were deleted, the entry has no more\n"


def item_lines(database: Database, task_id: str) -> Iterator[str]:
    """Yield the entry of the batch that a task belongs to, and the task's item; or nothing."""
    columns = [TASK.c.batch, TASK.c.number, TASK.c.parameters, TASK.c.state, TASK.c.error]
    query = select(TASK.c.id, *columns).where(TASK.c.id == task_id, TASK.c.batch.is_not(None))
    with database.read() as db:
        row = db.execute(query).one_or_none()
    entry = row and _entry_of(database, row.batch)
    if row is None or entry is None:
        return
    yield f"item of the batch {row.batch} of {one_line(entry.username)}, options: "
    yield f"{_text(entry.options)}\n"
    yield _item_line(dict(row._mapping))


def _entry_of(database: Database, batch_id: str) -> AuditEntry | None:
    found = AuditLog(database).entries(AuditFilter(task=batch_id), limit=1)
    return found[0] if found else None


def _items(database: Database, batch_id: str) -> Iterator[dict[str, Any]]:
    batches, after = BatchStore(database), None
    while page := batches.tasks(batch_id, limit=PAGE, after=after):
        yield from page
        after = page[-1]["number"]


def _item_line(item: dict[str, Any]) -> str:
    error = f" {item['error']['type']}" if item["error"] else ""
    return f"{item['number']} {item['id']} {item['state']}{error} {_text(item['parameters'])}\n"


def _text(value: Any) -> str:
    return one_line(json.dumps(value, ensure_ascii=False))
