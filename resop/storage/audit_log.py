"""The audit log: one entry for each request that acts, reads or was refused; only added to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict
from sqlalchemy import ColumnElement, func, select

from resop.plain_text import shorten
from resop.storage.audit_chain import MARK, AuditChain
from resop.storage.database import Database, repeated_on_conflict
from resop.storage.ids import lower_bound
from resop.storage.models import AUDIT, TASK, AuditEntry, RequestOutcome
from resop.storage.users import is_user

MAX_TEXT_CHARACTERS = 4096
"""The longest text in an entry's options; a script or the content of a file may be longer."""
MAX_OPTIONS_CHARACTERS = 16_384
"""The size of an entry's options as JSON."""
_TIGHTER = [(MAX_TEXT_CHARACTERS, 200), (256, 50), (64, 10)]
"""Longest text, and most members of a list or object: the first that fit are used."""
READING_METHODS = ("GET", "HEAD")
_ENTRIES_PAGE = 500


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
    acting: bool = False
    """Without requests that only read."""
    marks: bool = False
    """With the marks of the log itself, such as checkpoints."""


class AuditLog:
    """Reads and writes audit entries. Methods block; all raise RecordsUnavailable."""

    def __init__(self, database: Database, chain: AuditChain | None = None) -> None:
        """Use `chain` for what is written; without one, entries can only be read."""
        self._database = database
        self._chain = chain

    @property
    def chain(self) -> AuditChain:
        """The chain of this process."""
        assert self._chain is not None, "this log is only read"
        return self._chain

    @repeated_on_conflict
    def add(self, *entries: AuditEntry, durable: bool = True) -> None:
        """Write entries in one transaction; `durable` as in `Database.write`."""
        with self.chain.transaction() as appender, self._database.write(durable=durable) as db:
            appender.append(db, entries)

    @repeated_on_conflict
    def checkpoint(self, *, end: bool = False) -> None:
        """Begin the chain; or write a checkpoint if a chain has grown, or the end of this one."""
        if not self.chain.has_begun:
            if not end:
                self.add()
            return
        with self.chain.transaction() as appender, self._database.write(durable=end) as db:
            appender.checkpoint(db, end=end)

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

    def task_states(self, entries: Iterable[AuditEntry]) -> dict[str, str]:
        """Return how far the tasks and batches of these entries are, by id, in a few words.

        The dictionary lacks tasks that were deleted since.
        """
        ids = {entry.task for entry in entries if entry.task}
        query = select(TASK.c.id, TASK.c.state, TASK.c.error).where(TASK.c.id.in_(ids))
        of_batches = (
            select(TASK.c.batch, TASK.c.state, func.count())
            .where(TASK.c.batch.in_(ids))
            .group_by(TASK.c.batch, TASK.c.state)
        )
        with self._database.read() as db:
            states = {
                row.id: f"{row.state} {row.error['type']}" if row.error else row.state
                for row in db.execute(query)
            }
            batches: dict[str, list[str]] = {}
            for batch, state, count in db.execute(of_batches):
                batches.setdefault(batch, []).append(f"{count} {state}")
        return states | {batch: ", ".join(sorted(counts)) for batch, counts in batches.items()}


def bounded_options(options: Any) -> Any:
    """Return options of bounded size: long texts, lists and objects are truncated."""
    shown = ""
    for texts, members in _TIGHTER:
        bounded = _truncate(options, texts, members)
        shown = json.dumps(bounded, ensure_ascii=False)
        if len(shown) <= MAX_OPTIONS_CHARACTERS:
            return bounded
    return {"truncated": shorten(shown, MAX_TEXT_CHARACTERS)}


def items_record(parameters: Sequence[Any]) -> dict[str, Any]:
    """Return what the entry of a batch says about its items, given their masked parameters.

    `first` are as many of them as an entry may have, and the digest covers all.
    """
    first: list[Any] = []
    size = 0
    for item in parameters:
        size += len(json.dumps(item, ensure_ascii=False))
        if size > MAX_OPTIONS_CHARACTERS:
            break
        first.append(item)
    return {"count": len(parameters), "sha256": items_digest(parameters), "first": first}


def items_digest(parameters: Iterable[Any]) -> str:
    """Return the SHA-256 (hex) of the masked parameters of a batch's items, in their order."""
    digest = hashlib.sha256()
    for item in parameters:
        text = json.dumps(item, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest.update(text.encode("utf-8", "replace") + b"\n")
    return digest.hexdigest()


def _truncate(options: Any, texts: int, members: int) -> Any:
    """Truncate texts, lists and objects, and note how long they were."""
    if isinstance(options, dict):
        kept = {
            shorten(str(name), texts): _truncate(value, texts, members)
            for name, value in list(options.items())[:members]
        }
        return kept if len(options) <= members else kept | {"…": f"{len(options)} members"}
    if isinstance(options, list):
        kept_items = [_truncate(value, texts, members) for value in options[:members]]
        more = [] if len(options) <= members else [f"… ({len(options)} members)"]
        return kept_items + more
    return shorten(options, texts) if isinstance(options, str) else options


def _conditions(matching: AuditFilter, before: str | None) -> Iterator[ColumnElement[bool]]:
    if matching.user is not None:
        yield is_user(AUDIT, matching.user)
    for name in ("outcome", "task"):
        if (value := getattr(matching, name)) is not None:
            yield AUDIT.c[name] == value
    if matching.acting:
        yield AUDIT.c.method.not_in(READING_METHODS)
    if not matching.marks:
        yield AUDIT.c.method != MARK
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
