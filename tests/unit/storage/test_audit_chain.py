"""Chains of audit entries: what was done to them is found, and nothing else is reported."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from resop.errors import RecordsUnavailable
from resop.storage import audit_verify
from resop.storage.audit_chain import ENDED, ChainKey, canonical
from resop.storage.audit_log import AuditFilter, AuditLog
from resop.storage.audit_verify import chain_entries, verify_database
from resop.storage.database import Database
from resop.storage.models import AuditEntry, now
from resop.storage.tasks import TaskStore
from tests.support.audit import KEY, OTHER_KEY, audit_entry, faults, new_log, tamper
from tests.support.hostile_text import HOSTILE_PARTS
from tests.support.tasks import new_task


@pytest.fixture
def log(database: Database) -> AuditLog:
    """Write a chain of nine entries: the start, five requests, a checkpoint, two requests."""
    written = new_log(database)
    for number in range(5):
        written.add(audit_entry(username="ada", path=f"/{number}"))
    written.checkpoint()
    written.add(audit_entry(path="/5"), audit_entry(path="/6"))
    return written


def writer_of(log: AuditLog) -> str:
    [writer] = {entry.writer for entry in log.all_entries(AuditFilter())}
    assert writer is not None
    return writer


def test_untouched_chain_is_fine(database: Database, log: AuditLog) -> None:
    verdict = verify_database(database, [KEY]).verdict
    assert (verdict.faults, verdict.entries, verdict.writers) == ([], 9, 1)
    assert len(verdict.open_chains) == 1
    log.checkpoint(end=True)
    verdict = verify_database(database, [KEY]).verdict
    assert (verdict.faults, verdict.entries, verdict.open_chains) == ([], 10, [])


def test_checkpoints_are_written_only_if_something_happened(
    database: Database, log: AuditLog
) -> None:
    other = new_log(database, "worker")
    other.checkpoint()  # begins its chain, and notes the other one
    for _ in range(5):
        log.checkpoint()
        other.checkpoint()
    assert faults(database) == []
    assert verify_database(database, [KEY]).verdict.entries <= 9 + 1 + 2 + 2


TAMPERING: dict[str, tuple[str, str]] = {
    "user": ("UPDATE audit SET username = 'bob' WHERE sequence = 3", "entry 3 .*was changed"),
    "time": ("UPDATE audit SET at = '2020-01-01 00:00:00' WHERE sequence = 3", "entry 3 .*changed"),
    "options": ("UPDATE audit SET options = '{}' WHERE sequence = 3", "entry 3 .*was changed"),
    "outcome": ("UPDATE audit SET outcome = 'refused' WHERE sequence = 9", "entry 9 .*changed"),
    "count": ("UPDATE audit SET count = 1 WHERE sequence = 3", "entry 3 .*was changed"),
    "id": ("UPDATE audit SET id = 'x' WHERE sequence = 3", "entry 3 .*was changed"),
    "digest": ("UPDATE audit SET digest = 'aa' WHERE sequence = 3", "entry 3 .*was changed"),
    "one deleted": ("DELETE FROM audit WHERE sequence = 3", "entry 3 is missing before it"),
    "some deleted": (
        "DELETE FROM audit WHERE sequence IN (3, 4)",
        "entry 5 .*entries 3 to 4 are missing before it",
    ),
    "the first": ("DELETE FROM audit WHERE sequence = 1", "entry 1 is missing before it"),
    "the last": (
        "DELETE FROM audit WHERE sequence >= 6",
        "entries up to 7 were noted in the table audit_writer, but it has only 5",
    ),
    "all": ("DELETE FROM audit", "entries up to 7 were noted .* only 0"),
    "no chain": (
        "UPDATE audit SET writer = NULL, sequence = NULL, digest = NULL WHERE sequence = 3",
        "is in no chain",
    ),
    "noted": (
        "UPDATE audit_writer SET digest = 'aa'",
        "entries up to 7 were noted in the table audit_writer, but it has others",
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_found_and_the_first_broken_entry_named(
    database: Database, log: AuditLog, name: str
) -> None:
    statement, expected = TAMPERING[name]
    assert tamper(database, statement) > 0
    found = faults(database)
    assert any(re.search(expected, fault) for fault in found), found


@pytest.mark.parametrize(
    "change",
    [
        *("options = '{'", "items = 'no JSON'", "at = 'never'", "status = 'x'"),
    ],
)
def test_unreadable_entries_are_faults_and_no_crash(
    database: Database, log: AuditLog, change: str
) -> None:
    tamper(database, f"UPDATE audit SET {change} WHERE sequence = 4")
    found = faults(database)
    assert any("the entry after 3 is unreadable" in fault for fault in found), found


@pytest.mark.parametrize("options", ["{}", "[]", "7", '{"chains_pruned": 7}', "{", "null"])
def test_malformed_marks_are_faults_and_no_crash(
    database: Database, log: AuditLog, options: str
) -> None:
    columns = "id, at, username, cluster, address, method, path, action, outcome, status, request"
    for action in ("audit:pruned", "audit:exported", "audit:started"):
        tamper(
            database,
            f"INSERT INTO audit ({columns}, options, writer, sequence) VALUES (:id,"
            " '2026-01-01 00:00:00', '', '', '', 'AUDIT', '', :action, 'done', 0, '', :options,"
            " :id, 1)",
            id=action,
            action=action,
            options=options,
        )
    assert len(faults(database)) >= 3


def test_entries_with_a_writer_and_no_number_are_found(
    database: Database, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_verify, "PAGE", 2)
    tamper(database, "UPDATE audit SET sequence = NULL WHERE sequence IN (2, 3, 4, 5)")
    assert any("is in no chain" in fault for fault in faults(database))


def test_exchanged_entries_are_found(database: Database, log: AuditLog) -> None:
    for old, new in ((3, 99), (4, 3), (99, 4)):
        tamper(database, "UPDATE audit SET sequence = :new WHERE sequence = :old", old=old, new=new)
    [fault] = faults(database)
    assert "entry 3 of" in fault and "put in the place of another" in fault


def test_end_deleted_together_with_what_the_database_notes_is_found_in_another_chain(
    database: Database, log: AuditLog
) -> None:
    other = new_log(database, "worker")
    other.checkpoint()
    writer = writer_of(log)
    tamper(database, "DELETE FROM audit WHERE writer = :writer AND sequence > 3", writer=writer)
    tamper(database, "DELETE FROM audit_writer WHERE id = :writer", writer=writer)
    [fault] = faults(database)
    assert f"chain {writer}: entries up to 7 were noted in chain" in fault


def test_chain_deleted_as_a_whole_is_found_in_another_chain(
    database: Database, log: AuditLog
) -> None:
    new_log(database, "worker").checkpoint()
    writer = writer_of(log)
    tamper(database, "DELETE FROM audit WHERE writer = :writer", writer=writer)
    tamper(database, "DELETE FROM audit_writer WHERE id = :writer", writer=writer)
    [fault] = faults(database)
    assert "only 0" in fault


def test_rollback_under_a_running_process_is_found_with_its_next_entry(
    database: Database, log: AuditLog
) -> None:
    tamper(database, "DELETE FROM audit WHERE sequence > 3")
    tamper(database, "DELETE FROM audit_writer")
    log.add(audit_entry())
    [fault] = faults(database)
    assert "entry 10 of" in fault and "entries 4 to 9 are missing before it" in fault


def test_forged_entries_need_the_key(database: Database, log: AuditLog) -> None:
    last = list(chain_entries(database, writer_of(log)))[-1]
    forged = audit_entry(writer=last.writer, sequence=10)
    forged.digest = OTHER_KEY.digest(forged.model_dump(), last.digest or "")
    _insert(database, forged)
    [fault] = faults(database)
    assert "entry 10 of" in fault and "was changed" in fault


def test_forged_chain_is_found(database: Database, log: AuditLog) -> None:
    forged = new_log(database, "api", OTHER_KEY)
    forged.add(audit_entry(username="bob"))
    [fault] = faults(database)
    assert f"made with another SECRET_KEY, whose id is {OTHER_KEY.id}" in fault


def test_entries_inserted_outside_of_every_chain_are_found(
    database: Database, log: AuditLog
) -> None:
    _insert(database, audit_entry(username="bob"))
    [fault] = faults(database)
    assert "is in no chain" in fault


def test_entries_from_before_there_were_chains_are_no_fault(database: Database) -> None:
    _insert(database, audit_entry(username="ada"))
    new_log(database).add(audit_entry())
    verdict = verify_database(database, [KEY]).verdict
    assert (verdict.faults, verdict.unchained) == ([], 1)


def test_chains_of_a_previous_key_are_verified_with_it(database: Database, log: AuditLog) -> None:
    new_log(database, "api", OTHER_KEY).add(audit_entry())
    assert faults(database, [OTHER_KEY, KEY]) == []


def test_entries_after_the_end_of_a_chain_are_found(database: Database, log: AuditLog) -> None:
    log.checkpoint(end=True)
    [end] = [each for each in log.all_entries(AuditFilter(marks=True)) if each.action == ENDED]
    forged = audit_entry(writer=end.writer, sequence=11)
    forged.digest = KEY.digest(forged.model_dump(), end.digest or "")
    _insert(database, forged)
    [fault] = faults(database)
    assert "comes after the end of its chain" in fault


def test_entry_after_the_end_begins_another_chain(database: Database, log: AuditLog) -> None:
    log.checkpoint(end=True)
    log.add(audit_entry())
    found = verify_database(database, [KEY]).verdict
    assert (found.faults, found.writers) == ([], 2)


def test_failed_commit_begins_a_new_chain_that_names_the_old_one(
    database: Database, log: AuditLog
) -> None:
    with pytest.raises(RecordsUnavailable):
        fail_at_commit(database, log, audit_entry(path="/lost"))
    log.add(audit_entry(path="/next"))
    found = verify_database(database, [KEY])
    assert (found.verdict.faults, found.verdict.writers) == ([], 2)
    paths = {entry.path for entry in log.all_entries(AuditFilter())}
    assert "/next" in paths and "/lost" not in paths


def test_commit_that_happened_although_it_seemed_to_fail_is_no_fault(
    database: Database, log: AuditLog
) -> None:
    with pytest.raises(RecordsUnavailable), log.chain.transaction() as appender:
        with database.write() as db:
            appender.append(db, [audit_entry(path="/kept")])
        raise RecordsUnavailable  # as if the answer to the commit was lost
    log.add(audit_entry(path="/next"))
    assert faults(database) == []
    assert len(list(log.all_entries(AuditFilter()))) == 9


def test_chain_that_cannot_begin_begins_later(database: Database) -> None:
    log = new_log(database)
    tamper(database, "ALTER TABLE audit_writer RENAME TO hidden")  # as without the right to it
    for _ in range(2):
        with pytest.raises(RecordsUnavailable):
            log.add(audit_entry())
    tamper(database, "ALTER TABLE hidden RENAME TO audit_writer")
    log.add(audit_entry())
    log.checkpoint(end=True)
    verdict = verify_database(database, [KEY]).verdict
    assert (verdict.faults, verdict.entries, verdict.open_chains) == ([], 3, [])


def test_other_threads_go_on_after_a_failure(database: Database, log: AuditLog) -> None:
    with pytest.raises(RecordsUnavailable):
        fail_at_commit(database, log, audit_entry())
    with ThreadPoolExecutor(1) as pool:
        pool.submit(log.add, audit_entry()).result(timeout=30)


def test_many_writers_at_once_make_whole_chains(database: Database) -> None:
    logs = [new_log(database, f"api {number}") for number in range(2)]
    stores = [TaskStore(database, each.chain) for each in logs]

    def write(number: int) -> None:
        logs[number % 2].add(audit_entry(path=f"/{number}"))
        task = new_task()
        stores[number % 2].add(task, audit=audit_entry(task=task.id), durable=False)
        if number % 10 == 0:
            logs[number % 2].checkpoint()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(60)))
    found = verify_database(database, [KEY])
    assert (found.verdict.faults, found.verdict.writers) == ([], 2)
    assert len(list(logs[0].all_entries(AuditFilter()))) == 120


@pytest.mark.parametrize(
    "options",
    [
        {"text": "".join(HOSTILE_PARTS), "\ud800": ["\udfff"]},
        {"numbers": [0.1, 1e22, -0.0, 10**30, 5e-324, True, None]},
        {"nested": {"b": 1, "a": {"d": [], "c": {}}}},
        [],
        "text\r\n",
        0,
    ],
)
def test_entries_of_any_content_verify_as_the_database_returns_them(
    database: Database, options: Any
) -> None:
    text = "".join(HOSTILE_PARTS).encode("utf-8", "replace").decode()
    entry = audit_entry(options=options, items=options, username=f" {text[:50]} ", path=text)
    new_log(database).add(entry)
    assert faults(database) == []


def test_digest_depends_on_every_field() -> None:
    entry = audit_entry().model_dump()
    seen = {KEY.digest(entry, ""), KEY.digest(entry, "x")}
    for name in set(AuditEntry.model_fields) - {"digest"}:
        value: Any = now() - timedelta(days=9) if name == "at" else 7 if name == "status" else "y"
        value = 5 if name in ("count", "sequence") else value
        seen.add(KEY.digest(entry | {name: value}, ""))
    assert len(seen) == 2 + len(AuditEntry.model_fields) - 1


def test_later_columns_change_no_digest() -> None:
    assert b"client_request" not in canonical(audit_entry().model_dump())


def test_keys_have_different_ids() -> None:
    assert ChainKey(b"a" * 32).id != ChainKey(b"b" * 32).id == ChainKey(b"b" * 32).id


def fail_at_commit(database: Database, log: AuditLog, entry: AuditEntry) -> None:
    """Append an entry in a transaction that fails after it."""
    with log.chain.transaction() as appender, database.write() as db:
        appender.append(db, [entry])
        raise OperationalError("COMMIT", {}, Exception("connection lost"))


def _insert(database: Database, entry: AuditEntry) -> None:
    values = entry.model_dump()
    names = ", ".join(f"`{name}`" for name in values)
    marks = ", ".join(f":{name}" for name in values)
    with database.write() as db:
        values["at"] = entry.at.isoformat(" ").partition("+")[0]
        db.execute(text(f"INSERT INTO audit ({names}) VALUES ({marks})"), values)
