"""The audit table: every request that acts, also one that was refused; only ever added to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Index, insert, select
from sqlmodel import Field, SQLModel

from resop.storage.column_types import Json, LongText, UtcDateTime
from resop.storage.database import Database
from resop.storage.ids import lower_bound, new_id

LONGEST_TEXT = 4096
"""Characters of each text among the options; a script, or a file's content, may have more."""
_GROUP = 500
"""Entries read at a time."""


class RequestOutcome(StrEnum):
    """What became of a request."""

    ACCEPTED = "accepted"
    """As a task, whose own record says how it ended."""
    DONE = "done"
    REFUSED = "refused"


class AuditEntry(SQLModel):
    """One request."""

    id: str = Field(primary_key=True, max_length=36, default_factory=new_id)
    at: datetime = Field(default_factory=lambda: datetime.now(UTC), sa_type=UtcDateTime)
    username: str = Field(default="", max_length=64)
    """Who: of a login, who it was for; empty where nobody was logged in."""
    cluster: str = Field(default="", max_length=64)
    address: str = Field(max_length=64)
    """Where it came from."""
    method: str = Field(max_length=16)
    path: str = Field(sa_type=LongText)
    action: str = Field(default="", max_length=129)
    """`operator:name`, where it asked for one."""
    options: Any = Field(default=None, sa_type=Json, nullable=True)
    """Secrets masked, long texts cut; None where they were not valid, or not looked at."""
    outcome: str = Field(max_length=16)
    """An Outcome."""
    status: int
    """Of the answer over HTTP; 202 for a task when it is accepted."""
    error: str | None = Field(default=None, max_length=64)
    """Type of the error that it was refused with."""
    task: str | None = Field(default=None, max_length=36)
    """Id of the task, or of the batch, that it made."""
    request: str = Field(default="", max_length=64)
    """Id of the request, as the log of the API has it."""


class _AuditTable(AuditEntry, table=True):
    __tablename__ = "audit"
    __table_args__ = (Index("audit_of_user", "username", "id"),)


_AUDIT = SQLModel.metadata.tables["audit"]
ADD_ENTRY = insert(_AUDIT)


class AuditFilter(BaseModel):
    """Which entries are looked for; all that is given must fit."""

    model_config = ConfigDict(frozen=True)

    username: str | None = None
    action: str | None = None
    """`operator:name`; `*` stands for any text."""
    outcome: RequestOutcome | None = None
    task: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    """Made at `since` or later, and before `until`."""


class AuditLog:
    """The queries on it. They block; all raise RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, entry: AuditEntry) -> None:
        """Write an entry; that of a refused request may be lost with the power."""
        with self._database.write(flushed=entry.outcome != RequestOutcome.REFUSED) as db:
            db.execute(ADD_ENTRY, entry.model_dump())

    def entries(
        self, wanted: AuditFilter, limit: int, before: str | None = None
    ) -> list[AuditEntry]:
        """Entries, newest first; `before` is the id to go on from."""
        query = select(_AUDIT).where(*_chosen(wanted, before)).order_by(_AUDIT.c.id.desc())
        with self._database.read() as db:
            return [AuditEntry(**row._mapping) for row in db.execute(query.limit(limit))]

    def all_entries(self, wanted: AuditFilter, before: str | None = None) -> Iterator[AuditEntry]:
        """All of them, newest first, read as they are taken."""
        while found := self.entries(wanted, _GROUP, before):
            yield from found
            before = found[-1].id


def cut(options: Any) -> Any:
    """Options with long texts cut, which is said."""
    if isinstance(options, dict):
        return {name: cut(value) for name, value in options.items()}
    if isinstance(options, list):
        return [cut(value) for value in options]
    if isinstance(options, str) and len(options) > LONGEST_TEXT:
        return f"{options[:LONGEST_TEXT]}… ({len(options)} characters)"
    return options


def _chosen(wanted: AuditFilter, before: str | None) -> Iterator[ColumnElement[bool]]:
    for name in ("username", "outcome", "task"):
        if (value := getattr(wanted, name)) is not None:
            yield _AUDIT.c[name] == value
    if wanted.action is not None:
        parts = wanted.action.split("*")
        yield _AUDIT.c.action.like("%".join(map(_literal, parts)), escape="!")
    if wanted.since is not None:
        yield _AUDIT.c.id >= lower_bound(wanted.since)
    if wanted.until is not None:
        yield _AUDIT.c.id < lower_bound(wanted.until)
    if before is not None:
        yield _AUDIT.c.id < before


def _literal(text: str) -> str:
    return re.sub(r"([!%_])", r"!\1", text)
