"""Writes the audit entries of one process that are not written with a task.

One thread writes them all: entries that requests wait for share a transaction, and those of reads
wait some seconds for others. The thread also writes the checkpoints of the process's chain.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from resop.errors import RecordRefused, RecordsUnavailable, ResopError
from resop.storage.audit_chain import AuditChain
from resop.storage.audit_log import AuditLog
from resop.storage.audit_stream import AuditStream
from resop.storage.audit_summary import EntrySummary, MakeEntry
from resop.storage.group_committer import GroupCommitter
from resop.storage.models import AuditEntry, RequestOutcome

log = logging.getLogger(__name__)

FLUSH_SECONDS = 2.0
CHECKPOINT_SECONDS = 60.0
MAX_ENTRIES = 100
"""Entries written in one transaction."""
MAX_UNWRITTEN = 10_000
"""Entries of reads that are kept while the database is unavailable."""


class _Pending(NamedTuple):
    """An entry to be written, and the future its request waits for."""

    entry: AuditEntry
    written: Future[None]


class AuditRecorder:
    """One thread that writes entries for the whole process."""

    def __init__(self, audit_log: AuditLog, streams: Sequence[AuditStream] = ()) -> None:
        """Set up; `streams` get the entries of the log's chain, and end with this recorder."""
        self._log = audit_log
        self._streams = streams
        self._summary = EntrySummary()
        self._unwritten: list[AuditEntry] = []
        self._lost = 0
        self._next_checkpoint = 0.0
        self._committer = GroupCommitter[_Pending](
            "audit-recorder",
            self._write,
            max_items=MAX_ENTRIES,
            reject=self._reject,
            finish=self._finish,
            poll=self._poll,
        )

    def start(self) -> None:
        """Start to write."""
        for stream in self._streams:
            stream.start()
        self._committer.start()
        self._committer.put(_WAKE)  # from then on the thread polls

    def stop(self) -> None:
        """Write what is pending, and the end of the chain. Blocks."""
        self._committer.stop()
        try:
            self._flush(math.inf)
            self._log.checkpoint(end=True)
        except RecordsUnavailable as fault:
            log.error("the end of the audit log's chain: %s", fault.__cause__ or fault)
        for stream in self._streams:
            stream.stop()

    @property
    def chain(self) -> AuditChain:
        """The chain of this process, for entries that belong into another transaction."""
        return self._log.chain

    @property
    def lost(self) -> int:
        """Entries that are not in the log, or that a stream did not get."""
        return self._lost + sum(stream.lost for stream in self._streams)

    async def write(self, entry: AuditEntry) -> None:
        """Write an entry; return when it is committed. Raises RecordsUnavailable."""
        pending = _Pending(entry, Future())
        pending.written.set_running_or_notify_cancel()  # a request that ends cancels nothing
        self._committer.put(pending)
        await asyncio.wrap_future(pending.written)

    def write_later(self, entry: AuditEntry) -> None:
        """Have an entry written within some seconds, or when the database is back."""
        self._summary.add(entry)

    def count(self, key: Hashable, person: Hashable, entry: MakeEntry) -> None:
        """Count a read of a person; those with equal keys share entries."""
        self._summary.count(key, person, time.monotonic(), entry)

    def admits(self, source: str, entry: MakeEntry) -> bool:
        """Return True if a request without a token gets an entry of its own; else count it.

        `source` is the client's address, or the network that counts as one address.
        """
        return self._summary.admits(source, time.monotonic(), entry)

    def report_lost(self, entry: AuditEntry, reason: str = "the database is unavailable") -> None:
        """Log an entry that cannot be written, and have the next checkpoint tell the number.

        Its options are left out: they belong into no log.
        """
        self._lost += 1
        self._log.chain.lost += 1
        facts = entry.model_dump(exclude={"options", "items"}, exclude_none=True)
        log.error("not in the audit log, %s: %s", reason, facts)

    def _write(self, group: Sequence[_Pending]) -> None:
        waiting = [each for each in group if each is not _WAKE]
        if not waiting:
            return
        entries = [each.entry for each in waiting]
        # A power failure may lose the entry of a refused request.
        durable = any(entry.outcome != RequestOutcome.REFUSED for entry in entries)
        try:
            self._log.add(*entries, durable=durable)
        except RecordsUnavailable as fault:
            for each in waiting:
                each.written.set_exception(fault.copy())

    def _reject(self, pending: _Pending, fault: Exception) -> None:
        """Write an entry that the database refuses without its options, or tell its request."""
        try:
            if isinstance(fault, RecordRefused):
                self._log.add(_without_options(pending.entry, fault), durable=False)
                return
        except ResopError as another:
            fault = another
        pending.written.set_exception(fault)

    def _finish(self, group: Sequence[_Pending]) -> None:
        for each in group:
            if not each.written.done():
                each.written.set_result(None)

    def _poll(self) -> float:
        try:
            self._flush(time.monotonic())
            if time.monotonic() >= self._next_checkpoint or not self._log.chain.has_begun:
                self._next_checkpoint = time.monotonic() + CHECKPOINT_SECONDS
                self._log.checkpoint()
        except RecordsUnavailable as fault:
            log.warning("entries of the audit log wait: %s", fault.__cause__ or fault)
        return FLUSH_SECONDS

    def _flush(self, moment: float) -> None:
        """Write the entries that are due; keep them if the database is unavailable."""
        self._unwritten += self._summary.due(moment)
        while len(self._unwritten) > MAX_UNWRITTEN:
            self.report_lost(self._unwritten.pop(0))
        while batch := self._unwritten[:MAX_ENTRIES]:
            try:
                self._log.add(*batch, durable=False)
                del self._unwritten[: len(batch)]
            except RecordRefused:
                self._flush_each(batch)

    def _flush_each(self, batch: Sequence[AuditEntry]) -> None:
        """Write the first entries one by one, since the database refuses one of them."""
        for entry in batch:
            try:
                self._log.add(entry, durable=False)
            except RecordRefused as fault:
                self._flush_smaller(entry, fault)
            self._unwritten.pop(0)

    def _flush_smaller(self, entry: AuditEntry, fault: RecordRefused) -> None:
        try:
            self._log.add(_without_options(entry, fault), durable=False)
        except RecordRefused as another:
            self.report_lost(entry, another.message)


def _without_options(entry: AuditEntry, fault: RecordRefused) -> AuditEntry:
    """Return the entry with the reason in place of its options and items."""
    changes = {"options": {"not recorded": fault.message}, "items": None}
    return AuditEntry(**entry.model_dump() | changes)


_WAKE = _Pending(AuditEntry(address="", method="", path="", outcome="", status=0), Future())
