"""Retention of the audit log: old entries are deleted, if a verified export has them.

A pruning leaves a mark with the last deleted entry of each chain, from which verification
continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, delete, select

from resop.errors import SetupError
from resop.storage.audit_chain import EXPORTED, PRUNED, START, mark
from resop.storage.audit_export import Export, last_before, unchained_before
from resop.storage.audit_log import AuditLog
from resop.storage.audit_verify import claimed_prunings, digest_at, marks
from resop.storage.database import Database
from resop.storage.ids import lower_bound
from resop.storage.models import AUDIT, AUDIT_WRITER
from resop.storage.serializers import iso_time

DELETED_AT_ONCE = 1000
"""Entries deleted in one transaction."""


def exported_file(database: Database, before: datetime) -> Path:
    """Return the file of the last export with this date. Raises SetupError if there is none."""
    for found in reversed(marks(database, EXPORTED)):
        options = found.options if isinstance(found.options, dict) else {}
        if options.get("before") == iso_time(before) and isinstance(options.get("file"), str):
            return Path(options["file"])
    raise SetupError(
        f"nothing was exported with --before {iso_time(before)}: "
        "run `resop audit export` with this date first"
    )


def prune(database: Database, log: AuditLog, export: Export) -> int:
    """Delete exported entries, and note that in the log; return how many were deleted.

    May be repeated if it was interrupted. Raises SetupError if the database has others than those.
    The mark names every chain that has entries now, also if none will be left of it: others may
    have noted that chain.
    """
    claimed = claimed_prunings(database)
    for writer, position in export.through.items():
        pruned = position.sequence <= claimed.get(writer, START).sequence
        if not pruned and digest_at(database, writer, position.sequence) != position.digest:
            raise SetupError(f"chain {writer}: the exported entries are not those of the database")
    if sum(1 for _ in unchained_before(database, export.before)) > export.unchained:
        raise SetupError("the database has entries without a chain that were not exported")
    remaining = last_before(database, None)
    pruned_now = {
        writer: max(claimed.get(writer, START), export.through.get(writer, START))
        for writer in {*claimed, *export.through}
        if writer in remaining
    }
    options = {
        "before": iso_time(export.before),
        "entries": export.entries,
        "sha256": export.sha256,
        "chains_pruned": pruned_now,
    }
    log.add(mark(PRUNED, options))
    return _delete(database, export)


def _delete(database: Database, export: Export) -> int:
    deleted = 0
    old = AUDIT.c.writer.is_(None) & (AUDIT.c.id < lower_bound(export.before))
    conditions = [old & (AUDIT.c.at < export.before)] if export.unchained else []
    for writer, position in export.through.items():
        conditions.append((AUDIT.c.writer == writer) & (AUDIT.c.sequence <= position.sequence))
    for condition in conditions:
        while ids := _ids(database, condition):
            with database.write() as db:
                db.execute(delete(AUDIT).where(AUDIT.c.id.in_(ids)))
            deleted += len(ids)
    with database.write() as db:
        for writer, position in export.through.items():
            gone = AUDIT_WRITER.c.sequence <= position.sequence
            db.execute(delete(AUDIT_WRITER).where(AUDIT_WRITER.c.id == writer, gone))
    return deleted


def _ids(database: Database, condition: ColumnElement[bool]) -> Sequence[str]:
    with database.read() as db:
        return (
            db.execute(select(AUDIT.c.id).where(condition).limit(DELETED_AT_ONCE)).scalars().all()
        )
