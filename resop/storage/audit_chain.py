"""The chain of the audit entries of one process: each has a number and a digest of all before it.

Every process that writes entries has a chain of its own, so that none waits for another. A chain
begins with the mark `audit:started` and ends with `audit:ended`. In between, checkpoints note in
the table `audit_writer` how far the chain is, and how far the others are in the chain itself:
so the last entries of a chain, or all of them, cannot be deleted unnoticed either.

The digests are made with a key from SECRET_KEY. A thief who can write to the database but does not
have the key cannot make a chain that `resop audit verify` accepts.
"""

from __future__ import annotations

import hmac
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from resop.storage.ids import new_id
from resop.storage.models import AUDIT, AUDIT_WRITER, AuditEntry, AuditWriter, RequestOutcome, now

INSERT_ENTRY = insert(AUDIT)
MARK = "AUDIT"
"""The method of the entries that are marks of the log itself."""
STARTED, CHECKPOINT, ENDED = "audit:started", "audit:checkpoint", "audit:ended"
EXPORTED, PRUNED = "audit:exported", "audit:pruned"
MAX_LINKS = 50
"""Chains of other writers, those seen last, that a mark notes at most."""

_INSERT_WRITER = insert(AUDIT_WRITER)
_UPDATE_WRITER = update(AUDIT_WRITER).where(AUDIT_WRITER.c.id == bindparam("of_writer"))
_OTHER_WRITERS = (
    select(*(AUDIT_WRITER.c[name] for name in ("id", "sequence", "digest", "activity")))
    .where(AUDIT_WRITER.c.id != bindparam("of_writer"))
    .order_by(AUDIT_WRITER.c.seen_at.desc())
    .limit(MAX_LINKS)
)
Values = dict[str, Any]
"""The columns of an entry."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
OnWritten = Callable[[Sequence[Values]], None]
"""Takes the committed entries of a chain, in its order. Called under a lock: returns at once."""


class ChainKey:
    """A key for digests, and the id by which a chain names it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = hmac.digest(secret, b"id", "sha256").hex()[:12]

    def digest(self, entry: Mapping[str, Any], previous: str) -> str:
        """Return the digest (hex) of an entry that follows the one with the digest `previous`."""
        return self.digest_of(canonical(entry) + b"\n" + previous.encode())

    def digest_of(self, content: bytes) -> str:
        """Return the digest (hex) of anything else, such as the end of an export."""
        return hmac.digest(self._secret, content, "sha256").hex()


class Position(NamedTuple):
    """A place in a chain: the number of an entry, and its digest."""

    sequence: int
    digest: str


START = Position(0, "")


def canonical(entry: Mapping[str, Any]) -> bytes:
    """Return the content of an entry as the same bytes on every database, without its digest.

    Columns without a value do not count, so that a later column changes no digest. Raises
    UnicodeEncodeError for a lone surrogate, which databases refuse.
    """
    values = {name: value for name, value in entry.items() if value is not None}
    values.pop("digest", None)
    values["at"] = entry["at"].astimezone(UTC).isoformat()
    return _ENCODER.encode(values).encode()


def mark(action: str, options: Mapping[str, Any]) -> AuditEntry:
    """Return an entry that is a mark of the log itself."""
    return AuditEntry(
        at=now(),
        address="local",
        method=MARK,
        path="",
        action=action,
        options=dict(options),
        outcome=RequestOutcome.DONE,
        status=0,
    )


class AuditChain:
    """The chain of this process. Its transactions may be used by several threads."""

    def __init__(self, key: ChainKey, program: str, on_written: OnWritten | None = None) -> None:
        """Begin no chain yet: the first entry does."""
        self.key = key
        self.lost = 0
        """Entries that could not be written; each checkpoint tells the number."""
        self._process = f"{program} {socket.gethostname()} {os.getpid()}"[:128]
        self._on_written = on_written or (lambda _: None)
        self._lock = threading.Lock()
        self._writer = ""
        """The id of the chain; empty while there is none."""
        self._position = START
        self._activity = 0
        self._abandoned: tuple[str, Position] | None = None
        """A chain of this process whose last transaction may or may not have been committed."""
        self._linked: dict[str, int] = {}
        """The activity of other writers when this chain last noted them."""

    @property
    def has_begun(self) -> bool:
        """True while there is a chain, which the next entry continues."""
        return bool(self._writer)

    @contextmanager
    def transaction(self) -> Iterator[Appender]:
        """Yield what appends entries inside of a transaction, which must end within this context.

            with chain.transaction() as appender, database.write() as db:
                appender.append(db, entries)

        From the first `append` until the end of the context, other threads wait.
        """
        appender = Appender(self)
        try:
            yield appender
        except BaseException:
            appender.abandon()
            raise
        appender.confirm()


class Appender:
    """Appends the entries of one transaction to a chain."""

    def __init__(self, chain: AuditChain) -> None:
        self._chain = chain
        self._sealed: list[Values] = []
        self._before = START
        self._lost = 0
        self._ends = False
        self._holds_lock = False

    def append(self, db: Connection, entries: Sequence[AuditEntry]) -> None:
        """Begin the chain if needed, give the entries their place in it, and insert them."""
        chain = self._hold()
        if not chain._writer:
            self._begin(db)
        if entries:
            self._insert(db, entries)
            chain._activity = chain._position.sequence

    def checkpoint(self, db: Connection, *, end: bool = False) -> None:
        """Note how far the chains are, if this one or another has grown; or end this one."""
        chain = self._hold()
        if not chain._writer:
            return
        links = self._links(db)
        idle = chain._activity <= chain._linked.get(chain._writer, 0)
        if idle and not links and not end:
            return
        self._lost = chain.lost
        options = {"chains": links, **({"lost": self._lost} if self._lost else {})}
        self._insert(db, [mark(ENDED if end else CHECKPOINT, options)])
        if end:
            chain._activity = chain._position.sequence
            self._ends = True
        chain._linked[chain._writer] = chain._activity
        head = _head(chain)
        if not db.execute(_UPDATE_WRITER.values(head), {"of_writer": chain._writer}).rowcount:
            db.execute(_INSERT_WRITER, [head])  # pruned, while the process was idle for long

    def confirm(self) -> None:
        """Note that the transaction is committed, and pass its entries on."""
        if not self._holds_lock:
            return
        chain = self._chain
        try:
            if self._sealed:
                chain._abandoned = None
            if self._ends:
                chain._writer = ""  # a late entry begins another chain
            chain.lost -= self._lost
            chain._on_written(self._sealed)
        finally:
            chain._lock.release()

    def abandon(self) -> None:
        """Leave the chain after a failure: nobody knows whether the transaction was committed.

        The next entry begins a new chain, whose first entry names the abandoned one.
        """
        if not self._holds_lock:
            return
        chain = self._chain
        if self._sealed and self._before.sequence:
            chain._abandoned = chain._writer, self._before
        if self._sealed or not self._before.sequence:
            chain._writer = ""
        chain._lock.release()

    def _hold(self) -> AuditChain:
        if not self._holds_lock:
            self._chain._lock.acquire()
            self._holds_lock = True
            self._before = self._chain._position
        return self._chain

    def _begin(self, db: Connection) -> None:
        chain = self._chain
        chain._writer, chain._position, self._before = new_id(), START, START
        chain._linked = {}
        options: dict[str, Any] = {
            "process": chain._process,
            "key": chain.key.id,
            "chains": self._links(db),
        }
        if chain._abandoned:
            writer, position = chain._abandoned
            options["continues"] = [writer, *position]
        self._insert(db, [mark(STARTED, options)])
        chain._activity = chain._position.sequence
        chain._linked[chain._writer] = chain._activity
        db.execute(_INSERT_WRITER, [_head(chain)])

    def _links(self, db: Connection) -> list[list[Any]]:
        """Return how far the other chains are that have grown since this one last noted them."""
        chain = self._chain
        links = []
        for row in db.execute(_OTHER_WRITERS, {"of_writer": chain._writer}):
            if chain._linked.get(row.id) != row.activity:
                links.append([row.id, row.sequence, row.digest])
                chain._linked[row.id] = row.activity
        return links

    def _insert(self, db: Connection, entries: Sequence[AuditEntry]) -> None:
        chain = self._chain
        rows = []
        for entry in entries:
            row = entry.model_dump()
            row["writer"], row["sequence"] = chain._writer, chain._position.sequence + 1
            try:
                row["digest"] = chain.key.digest(row, chain._position.digest)
            except UnicodeEncodeError:
                row |= _without_surrogates(row)
                row["digest"] = chain.key.digest(row, chain._position.digest)
            chain._position = Position(row["sequence"], row["digest"])
            rows.append(row)
        self._sealed += rows
        db.execute(INSERT_ENTRY, rows)


def _head(chain: AuditChain) -> dict[str, Any]:
    position = chain._position
    return AuditWriter(
        id=chain._writer,
        process=chain._process,
        sequence=position.sequence,
        digest=position.digest,
        activity=chain._activity,
        seen_at=now(),
    ).model_dump()


def _without_surrogates(row: Values) -> Values:
    """Return options and items as a database returns them, which refuses lone surrogates."""
    replaced = {}
    for name in ("options", "items"):
        text = json.dumps(row[name], ensure_ascii=False)
        replaced[name] = json.loads(text.encode("utf-8", "replace"))
    return replaced
