"""The audit log: one entry for each request that acts or was refused; entries are only added."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import ColumnElement, insert, select

from resop.storage.database import Database
from resop.storage.ids import lower_bound
from resop.storage.models import AUDIT, AuditEntry, RequestOutcome
from resop.storage.users import is_user

MAX_TEXT_CHARACTERS = 4096
"""The longest text in an entry's options; a script or the content of a file may be longer."""
_ENTRIES_PAGE = 500

INSERT_ENTRY = insert(AUDIT)


class AuditFilter(BaseModel):
    """The conditions of a search; an entry must meet all that are set."""

    model_config = ConfigDict(frozen=True)

    user: str | None = None
    """`name@cluster`, or a name, which means that name on every cluster."""
    action: str | None = None
    """`operator:name`; `*` matches any text."""
    outcome: RequestOutcome | None = None
    task: str | None = None
    since: AwareDatetime | None = None
    """Written at this time or later."""
    until: AwareDatetime | None = None
    """Written before this time."""


class AuditLog:
    """Reads and writes audit entries. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, entry: AuditEntry) -> None:
        """Write an entry; a power failure may lose the entry of a refused request."""
        with self._database.write(durable=entry.outcome != RequestOutcome.REFUSED) as db:
            db.execute(INSERT_ENTRY, entry.model_dump())

    def entries(
        self, matching: AuditFilter, limit: int, before: str | None = None
    ) -> list[AuditEntry]:
        """Return a page of entries, newest first; `before` is the last id seen."""
        query = select(AUDIT).where(*_conditions(matching, before)).order_by(AUDIT.c.id.desc())
        with self._database.read() as db:
            return [AuditEntry(**row._mapping) for row in db.execute(query.limit(limit))]

    def all_entries(self, matching: AuditFilter, before: str | None = None) -> Iterator[AuditEntry]:
        """Yield all matching entries, newest first, read in pages."""
        while found := self.entries(matching, _ENTRIES_PAGE, before):
            yield from found
            before = found[-1].id


def truncate_options(options: Any) -> Any:
    """Truncate long strings in `options`, and note their original length."""
    if isinstance(options, dict):
        return {name: truncate_options(value) for name, value in options.items()}
    if isinstance(options, list):
        return [truncate_options(value) for value in options]
    if isinstance(options, str) and len(options) > MAX_TEXT_CHARACTERS:
        return f"{options[:MAX_TEXT_CHARACTERS]}… ({len(options)} characters)"
    return options


def _conditions(matching: AuditFilter, before: str | None) -> Iterator[ColumnElement[bool]]:
    if matching.user is not None:
        yield is_user(AUDIT, matching.user)
    for name in ("outcome", "task"):
        if (value := getattr(matching, name)) is not None:
            yield AUDIT.c[name] == value
    if matching.action is not None:
        parts = matching.action.split("*")
        yield AUDIT.c.action.like("%".join(map(_like_literal, parts)), escape="!")
    if matching.since is not None:
        yield AUDIT.c.id >= lower_bound(matching.since)
    if matching.until is not None:
        yield AUDIT.c.id < lower_bound(matching.until)
    if before is not None:
        yield AUDIT.c.id < before


def _like_literal(text: str) -> str:
    """Escape the wildcards of SQL's LIKE."""
    return re.sub(r"([!%_])", r"!\1", text)
