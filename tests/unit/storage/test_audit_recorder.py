"""The thread that writes audit entries: at once for requests that act, soon for reads."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from resop.errors import RecordRefused, RecordsUnavailable
from resop.storage import audit_recorder
from resop.storage.audit_chain import CHECKPOINT, ENDED, STARTED
from resop.storage.audit_log import AuditFilter, AuditLog
from resop.storage.audit_recorder import AuditRecorder
from resop.storage.database import Database
from resop.storage.models import AuditEntry, RequestOutcome
from tests.support.audit import audit_entry, faults, new_log


@pytest.fixture
def log(database: Database) -> AuditLog:
    return new_log(database)


@pytest.fixture
def recorder(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditRecorder]:
    monkeypatch.setattr(audit_recorder, "FLUSH_SECONDS", 0.02)
    started = AuditRecorder(log)
    started.start()
    yield started
    started.stop()


def entries(log: AuditLog, **wanted: Any) -> list[AuditEntry]:
    return list(log.all_entries(AuditFilter(**wanted)))


async def test_entry_is_in_the_database_when_write_returns(
    log: AuditLog, recorder: AuditRecorder
) -> None:
    await asyncio.gather(*(recorder.write(audit_entry(path=f"/{n}")) for n in range(50)))
    assert {each.path for each in entries(log)} == {f"/{n}" for n in range(50)}


async def test_reads_are_written_soon_and_wait_for_nobody(
    log: AuditLog, recorder: AuditRecorder
) -> None:
    for _ in range(100):
        recorder.count("key", "ada", lambda: audit_entry(method="GET", path="/tasks"))
    for _ in range(500):
        if entries(log):
            break
        await asyncio.sleep(0.02)
    assert [each.count for each in entries(log)] == [None]
    recorder.stop()
    assert [each.count for each in entries(log)] == [99, None]


async def test_request_that_goes_away_cancels_no_entry(
    log: AuditLog, recorder: AuditRecorder
) -> None:
    writing = asyncio.ensure_future(recorder.write(audit_entry(path="/gone")))
    await asyncio.sleep(0)
    writing.cancel()
    await recorder.write(audit_entry(path="/next"))
    assert {each.path for each in entries(log)} == {"/gone", "/next"}


def test_chain_has_a_start_and_an_end(
    database: Database, log: AuditLog, recorder: AuditRecorder
) -> None:
    recorder.stop()
    actions = [each.action for each in entries(log, marks=True)]
    assert actions[0] == ENDED and actions[-1] == STARTED
    assert faults(database) == []


class _Unavailable(AuditLog):
    """A log whose database is unavailable until `back` is set."""

    back = False

    def add(self, *entries: AuditEntry, durable: bool = True) -> None:
        if not self.back:
            raise RecordsUnavailable
        super().add(*entries, durable=durable)


async def test_reads_wait_while_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_recorder, "FLUSH_SECONDS", 0.02)
    log = _Unavailable(database, new_log(database).chain)
    recorder = AuditRecorder(log)
    recorder.start()
    recorder.count("key", "ada", lambda: audit_entry(method="GET", path="/tasks"))
    with pytest.raises(RecordsUnavailable):
        await recorder.write(audit_entry(path="/refused", outcome=RequestOutcome.REFUSED))
    await asyncio.sleep(0.1)
    log.back = True
    recorder.stop()
    assert [each.path for each in entries(log)] == ["/tasks"]


async def test_lost_entries_are_logged_counted_and_told_by_the_next_checkpoint(
    log: AuditLog, recorder: AuditRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.report_lost(audit_entry(path="/lost"))
    await recorder.write(audit_entry(path="/kept"))
    recorder.stop()
    assert recorder.lost == 1
    assert "/lost" in caplog.text
    marks = [each for each in entries(log, marks=True) if each.action in (ENDED, CHECKPOINT)]
    assert sum(each.options.get("lost", 0) for each in marks) == 1


async def test_entry_that_the_database_refuses_costs_only_its_options(
    database: Database,
    log: AuditLog,
    recorder: AuditRecorder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add, poison = log.add, {"options": {"input": "secret"}}

    def refuse(*group: AuditEntry, durable: bool = True) -> None:
        if any(each.options == poison["options"] or "lost" in each.path for each in group):
            raise RecordRefused("the database cannot store this")
        add(*group, durable=durable)

    monkeypatch.setattr(log, "add", refuse)
    written = await asyncio.gather(
        *(recorder.write(audit_entry(path=f"/{n}")) for n in range(5)),
        recorder.write(audit_entry(path="/poisoned", **poison)),
        recorder.write(audit_entry(path="/lost")),
        return_exceptions=True,
    )
    for entry in (audit_entry(path="/a"), audit_entry(path="/read", **poison)):
        recorder.write_later(entry)
    recorder.write_later(audit_entry(path="/lost too", **poison))
    recorder.write_later(audit_entry(path="/z"))
    recorder.stop()
    assert [type(each) for each in written] == [type(None)] * 6 + [RecordRefused]
    found = {each.path: each.options for each in entries(log)}
    assert found.keys() == {*(f"/{n}" for n in range(5)), "/poisoned", "/a", "/read", "/z"}
    for path in ("/poisoned", "/read"):
        assert "cannot store this" in found[path]["not recorded"]
    assert recorder.lost == 1 and "/lost too" in caplog.text
    assert "secret" not in caplog.text
    assert faults(database) == []
