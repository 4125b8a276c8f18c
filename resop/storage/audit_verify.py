"""Verifies chains of audit entries: in the database, in a stream's file, in an export.

Found are changed, missing, repeated and reordered entries, entries that are in no chain, and chains
that are shorter than others have noted. See docs/security.md for what cannot be found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, or_, select

from resop.errors import SetupError
from resop.storage.audit_chain import (
    CHECKPOINT,
    ENDED,
    MARK,
    PRUNED,
    START,
    STARTED,
    ChainKey,
    Position,
)
from resop.storage.database import Database
from resop.storage.models import AUDIT, AUDIT_WRITER, AuditEntry

PAGE = 1000

Lookup = Callable[[str, int], str | None]
"""Returns the digest of a writer's entry with that number, or None if there is no such entry."""


@dataclass(slots=True)
class _Chain:
    """A chain as far as it was read."""

    position: Position
    process: str = "?"
    key_id: str | None = None
    ended: bool = False
    broken: bool = False
    anchored: bool = True
    """False while the digest before the next entry is not known."""


@dataclass(slots=True)
class Verification:
    """The result of a verification."""

    entries: int = 0
    unchained: int = 0
    """Entries from before there were chains."""
    faults: list[str] = field(default_factory=list)
    """The first fault of each chain, and what is missing at the end of chains."""
    open_chains: list[str] = field(default_factory=list)
    """Chains without an end: the process runs, was killed, or the end is missing."""
    lost: int = 0
    """Entries that the processes say they could not write."""
    writers: int = 0


class ChainVerifier:
    """Checks entries, which must come in the order of their chain; chains may alternate."""

    def __init__(
        self,
        keys: Sequence[ChainKey],
        pruned: Mapping[str, Position] | None = None,
        *,
        from_the_middle: bool = False,
    ) -> None:
        """Set up.

        `pruned` are the last deleted entries of chains whose beginning was pruned. With
        `from_the_middle`, a chain may begin with any entry, as in the file of a stream.
        """
        self.verdict = Verification()
        self.pruned: dict[str, Position] = {}
        """The last deleted entries, according to the prunings that were verified here."""
        self.links: dict[str, tuple[Position, str]] = {}
        """The last noted position of each writer, and who noted it."""
        self._keys = keys
        self._claimed = pruned or {}
        self._from_the_middle = from_the_middle
        self._chains: dict[str, _Chain] = {}
        self._first_chained: str | None = None

    @property
    def heads(self) -> dict[str, Position]:
        """The last position of each chain."""
        return {writer: chain.position for writer, chain in self._chains.items()}

    def check(self, entry: AuditEntry) -> None:
        """Check the next entry."""
        self.verdict.entries += 1
        if entry.writer is None or entry.sequence is None:
            self._check_unchained(entry)
            return
        chain = self._chain_of(entry.writer, entry.sequence)
        if chain.broken or entry.sequence <= self._through(entry.writer):
            return  # the rest of a pruning that was interrupted
        fault = self._fault(chain, entry)
        if fault is not None:
            chain.broken = True
            self.verdict.faults.append(f"{_place(entry)}: {fault}")
            return
        chain.position = Position(entry.sequence, entry.digest or "")
        if entry.method == MARK and chain.anchored:
            self._note_mark(chain, entry)
        chain.anchored = True

    def finish(self, lookup: Lookup) -> Verification:
        """Check what the chains noted about each other, and return the verdict."""
        for writer, (position, by) in self.links.items():
            chain = self._chains.get(writer)
            if (chain and chain.broken) or position.sequence <= self._through(writer):
                continue
            if lookup(writer, position.sequence) != position.digest:
                last = chain.position.sequence if chain else 0
                self.verdict.faults.append(
                    f"chain {writer}: entries up to {position.sequence} were noted {by}, "
                    f"but it has {f'only {last}' if last < position.sequence else 'others'}"
                )
        for writer, chain in self._chains.items():
            if not chain.ended and not chain.broken:
                self.verdict.open_chains.append(f"{writer} ({chain.process})")
        self.verdict.writers = len(self._chains)
        return self.verdict

    def note(self, writer: str, position: Position, by: str) -> None:
        """Note that a chain had reached a position."""
        known = self.links.get(writer)
        if known is None or known[0].sequence < position.sequence:
            self.links[writer] = position, by

    def _through(self, writer: str) -> int:
        return self._claimed[writer].sequence if writer in self._claimed else 0

    def _chain_of(self, writer: str, sequence: int) -> _Chain:
        if writer not in self._chains:
            chain = _Chain(self._claimed.get(writer, START))
            if self._from_the_middle and sequence != chain.position.sequence + 1:
                chain.position, chain.anchored = Position(sequence - 1, ""), False
            self._chains[writer] = chain
        return self._chains[writer]

    def _check_unchained(self, entry: AuditEntry) -> None:
        self.verdict.unchained += 1
        if self._first_chained is not None and entry.id > self._first_chained:
            fault = "is in no chain: from an earlier version of the service, or forged"
            self.verdict.faults.append(f"{_place(entry)}: {fault}")

    def require_chains(self, first_chained: str | None) -> None:
        """Note the id of the first entry in any chain: later ones must be in a chain."""
        self._first_chained = first_chained

    def _fault(self, chain: _Chain, entry: AuditEntry) -> str | None:
        assert entry.sequence is not None
        if chain.ended:
            return "comes after the end of its chain"
        expected = chain.position.sequence + 1
        if entry.sequence > expected:
            last = entry.sequence - 1
            one = f"entry {expected} is missing before it"
            return (
                one if last == expected else f"entries {expected} to {last} are missing before it"
            )
        if entry.sequence < expected:
            return "its number is there twice"
        if not chain.anchored:
            return None  # cannot be verified; the next entry can
        values = entry.model_dump()
        if any(key.digest(values, chain.position.digest) == entry.digest for key in self._keys):
            return None
        options = entry.options if isinstance(entry.options, dict) else {}
        named = options.get("key") if entry.action == STARTED else None
        if named is not None and named not in [key.id for key in self._keys]:
            return f"its chain was made with another SECRET_KEY, whose id is {named}"
        return "it was changed, or put in the place of another"

    def _note_mark(self, chain: _Chain, entry: AuditEntry) -> None:
        """Read a verified mark."""
        options, by = entry.options or {}, f"in {_place(entry)}"
        for writer, sequence, digest in options.get("chains", []):
            self.note(writer, Position(sequence, digest), by)
        if entry.action == STARTED:
            chain.process = options["process"]
            if "continues" in options:
                writer, sequence, digest = options["continues"]
                self.note(writer, Position(sequence, digest), by)
        elif entry.action in (CHECKPOINT, ENDED):
            self.verdict.lost += options.get("lost", 0)
            chain.ended = entry.action == ENDED
        elif entry.action == PRUNED:
            self.pruned |= pruned_positions(entry)


def pruned_positions(entry: AuditEntry) -> dict[str, Position]:
    """Return the last deleted entry of each chain, as the mark of a pruning says."""
    return {
        writer: Position(sequence, digest)
        for writer, (sequence, digest) in entry.options["chains_pruned"].items()
    }


def verify_database(database: Database, keys: Sequence[ChainKey]) -> ChainVerifier:
    """Verify all chains of the database; `verdict` has the result. Raises RecordsUnavailable."""
    heads = _heads(database)  # first: the chains may grow meanwhile
    claimed = claimed_prunings(database)
    verifier = ChainVerifier(keys, claimed)
    for writer, position in heads.items():
        verifier.note(writer, position, "in the table audit_writer")
    verifier.require_chains(_first_chained(database))
    for writer_id in [None, *_writer_ids(database)]:
        try:
            for entry in chain_entries(database, writer_id):
                verifier.check(entry)
        except SetupError as fault:
            verifier.verdict.faults.append(fault.message)
    for writer_id, position in claimed.items():
        if verifier.pruned.get(writer_id) != position:
            verifier.verdict.faults.append(f"chain {writer_id}: its pruning is not verified")
    verifier.finish(lambda writer, sequence: digest_at(database, writer, sequence))
    return verifier


def verify_lines(
    entries: Iterable[AuditEntry], keys: Sequence[ChainKey], database: Database
) -> ChainVerifier:
    """Verify the entries of a stream's file, and that the database has them, unless pruned."""
    verifier = ChainVerifier(keys, from_the_middle=True)
    for entry in entries:
        verifier.check(entry)
    claimed = claimed_prunings(database)
    verifier.links.clear()
    for writer, position in verifier.heads.items():
        if position.sequence > claimed.get(writer, START).sequence:
            verifier.note(writer, position, "in the file")
    verifier.finish(lambda writer, sequence: digest_at(database, writer, sequence))
    return verifier


def claimed_prunings(database: Database) -> dict[str, Position]:
    """Return the last deleted entry of each chain, as all prunings say; not verified."""
    claimed: dict[str, Position] = {}
    for mark in marks(database, PRUNED):
        # A forged mark is reported where its chain is verified.
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            claimed |= pruned_positions(mark)
    return claimed


def marks(database: Database, action: str) -> list[AuditEntry]:
    """Return all readable marks of a kind, oldest first; not verified."""
    query = select(AUDIT.c.id).where(AUDIT.c.method == MARK, AUDIT.c.action == action)
    with database.read() as db:
        ids = db.execute(query.order_by(AUDIT.c.id)).scalars().all()
    found: list[AuditEntry] = []
    for id in ids:
        with contextlib.suppress(ValueError):
            found += _read(database, [AUDIT.c.id == id], AUDIT.c.id, 1)
    return found


def chain_entries(
    database: Database, writer: str | None, through: int | None = None
) -> Iterator[AuditEntry]:
    """Yield the entries of a chain, or of none, in their order; read in pages.

    Raises SetupError for an entry that cannot be read.
    """
    last: int | str | None = None
    order: ColumnElement[Any] = AUDIT.c.id if writer is None else AUDIT.c.sequence
    limit = PAGE
    while True:
        conditions = _chain_conditions(writer)
        if last is not None:
            conditions.append(order > last)
        if through is not None:
            conditions.append(order <= through)
        try:
            page = _read(database, conditions, order, limit)
        except ValueError as fault:  # of a column's type, of JSON and of pydantic
            if limit == 1:
                place = f"chain {writer}" if writer else "entries without a chain"
                reason = " ".join(str(fault).split())
                raise SetupError(
                    f"{place}: the entry after {last} is unreadable: {reason}"
                ) from None
            limit = 1
            continue
        yield from page
        if len(page) < limit:
            return
        last = page[-1].id if writer is None else page[-1].sequence


def _chain_conditions(writer: str | None) -> list[ColumnElement[bool]]:
    if writer is None:
        return [or_(AUDIT.c.writer.is_(None), AUDIT.c.sequence.is_(None))]
    return [AUDIT.c.writer == writer, AUDIT.c.sequence.is_not(None)]


def _read(
    database: Database,
    conditions: Sequence[ColumnElement[bool]],
    order: ColumnElement[Any],
    limit: int,
) -> list[AuditEntry]:
    """Read entries. Raises ValueError if one of them is none."""
    query = select(AUDIT).where(*conditions).order_by(order, AUDIT.c.id).limit(limit)
    with database.read() as db:
        return [AuditEntry(**row._mapping) for row in db.execute(query)]


def digest_at(database: Database, writer: str, sequence: int) -> str | None:
    """Return the digest of an entry, or None if there is no such entry."""
    query = select(AUDIT.c.digest).where(AUDIT.c.writer == writer, AUDIT.c.sequence == sequence)
    with database.read() as db:
        return db.execute(query).scalars().first()


def _writer_ids(database: Database) -> list[str]:
    query = select(AUDIT.c.writer).where(AUDIT.c.writer.is_not(None)).distinct()
    with database.read() as db:
        return sorted(filter(None, db.execute(query).scalars()))


def _heads(database: Database) -> dict[str, Position]:
    query = select(AUDIT_WRITER.c.id, AUDIT_WRITER.c.sequence, AUDIT_WRITER.c.digest)
    with database.read() as db:
        # SQLite stores any value in any column.
        return {
            row.id: Position(row.sequence if isinstance(row.sequence, int) else 1, row.digest)
            for row in db.execute(query)
        }


def _first_chained(database: Database) -> str | None:
    query = select(AUDIT.c.id).where(AUDIT.c.writer.is_not(None)).order_by(AUDIT.c.id).limit(1)
    with database.read() as db:
        return db.execute(query).scalars().first()


def _place(entry: AuditEntry) -> str:
    at = entry.at.isoformat(" ", "seconds")
    if entry.writer is None:
        return f"entry {entry.id} of {at}"
    return f"chain {entry.writer}, entry {entry.sequence} of {at} (id {entry.id})"
