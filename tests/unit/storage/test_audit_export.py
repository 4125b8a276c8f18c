"""Retention: only what a verified file has is deleted, and the rest still verifies."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resop.errors import SetupError
from resop.storage import audit_chain
from resop.storage.audit_export import Export, entries_of, export_entries, read_export
from resop.storage.audit_log import AuditFilter, AuditLog
from resop.storage.audit_retention import exported_file, prune
from resop.storage.audit_verify import verify_database, verify_lines
from resop.storage.database import Database
from resop.storage.ids import lower_bound
from resop.storage.models import AuditEntry
from tests.support.audit import KEY, OTHER_KEY, audit_entry, faults, new_log, tamper

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
KEYS = [KEY]


class Clock:
    """The time of the marks."""

    def __init__(self) -> None:
        self.now = JANUARY

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(audit_chain, "now", made)
    return made


@pytest.fixture
def log(database: Database, clock: Clock) -> AuditLog:
    """Write two chains from January on, one of which continues in May; return its log."""
    written, other = new_log(database), new_log(database, "worker")
    for number in range(60):
        clock.now = JANUARY + timedelta(days=2 * number)
        written.add(entry_of(clock.now, f"/{number}"))
        if number < 10:
            other.add(entry_of(clock.now, f"/other/{number}"))
        if number % 20 == 0:
            written.checkpoint()
            other.checkpoint()
    clock.now = JANUARY + timedelta(days=150)
    return written


def entry_of(at: datetime, path: str) -> AuditEntry:
    return audit_entry(at=at, id=lower_bound(at) + path, path=path)


def export(database: Database, file: Path, before: datetime = MARCH) -> Export:
    log = new_log(database, "resop audit")
    done = export_entries(database, log, KEYS, before, file)
    log.checkpoint(end=True)
    assert done.faults == []
    return done.export


def pruned(database: Database, exported: Export) -> int:
    log = new_log(database, "resop audit")
    deleted = prune(database, log, exported)
    log.checkpoint(end=True)
    return deleted


def paths(log: AuditLog) -> list[str]:
    return [entry.path for entry in log.all_entries(AuditFilter())][::-1]


def test_exported_entries_are_deleted_and_the_rest_verifies(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    file = tmp_path / "old.ndjson"
    exported = export(database, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert exported_file(database, MARCH) == file
    assert read_export(file, KEYS) == exported
    assert len(paths(log)) == 70 and faults(database) == []
    assert pruned(database, exported) == exported.entries
    assert paths(log) == [f"/{number}" for number in range(30, 60)]
    assert faults(database) == []
    log.add(audit_entry(path="/new"))
    assert faults(database) == []
    kept = [entry.path for entry in entries_of(file) if entry.path]
    assert sorted(kept) == sorted(
        [f"/{number}" for number in range(30)] + [f"/other/{number}" for number in range(10)]
    )


def test_pruning_again_later_keeps_the_rest_verifiable(
    database: Database, log: AuditLog, clock: Clock, tmp_path: Path
) -> None:
    for number, before in enumerate((MARCH, APRIL, APRIL + timedelta(days=15))):
        exported = export(database, tmp_path / f"{number}.ndjson", before)
        assert read_export(tmp_path / f"{number}.ndjson", KEYS) == exported
        assert pruned(database, exported) == exported.entries > 0
        assert faults(database) == []
    clock.now = JANUARY + timedelta(days=400)
    log.checkpoint(end=True)
    later = JANUARY + timedelta(days=300)
    exported = export(database, tmp_path / "all.ndjson", later)  # with the marks of the prunings
    pruned(database, exported)
    assert paths(log) == [] and faults(database) == []


def test_interrupted_pruning_verifies_and_can_be_repeated(
    database: Database, log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = export(database, tmp_path / "old.ndjson")

    def interrupt(*_: object) -> int:
        tamper(database, "DELETE FROM audit WHERE path IN ('/1', '/2', '/4')")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("resop.storage.audit_retention._delete", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pruned(database, exported)
    assert faults(database) == []
    pruned(database, exported)
    assert faults(database) == [] and len(paths(log)) == 30


def test_deleting_more_than_was_pruned_is_found(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    pruned(database, export(database, tmp_path / "old.ndjson"))
    tamper(database, "DELETE FROM audit WHERE path = '/30'")
    [fault] = faults(database)
    assert "missing before it" in fault


def test_forged_pruning_excuses_nothing(database: Database, log: AuditLog) -> None:
    writer = next(iter(log.all_entries(AuditFilter()))).writer or ""
    tamper(database, "DELETE FROM audit WHERE writer = :writer AND sequence < 9", writer=writer)
    mark = audit_chain.mark(audit_chain.PRUNED, {"chains_pruned": {writer: [8, "00"]}})
    new_log(database, "resop audit", OTHER_KEY).add(mark)
    assert len(faults(database)) >= 2


def test_damaged_exports_are_refused(database: Database, log: AuditLog, tmp_path: Path) -> None:
    file = tmp_path / "old.ndjson"
    export(database, file)
    lines = file.read_bytes().splitlines(keepends=True)
    changed = [line.replace(b'"/7"', b'"/8"') for line in lines]
    assert changed != lines
    closing = json.loads(lines[-1])
    closing["export"]["entries"] -= 1
    for damaged, reason in [
        (changed, "was changed"),
        (lines[:-1], "closing line is missing"),
        (lines[1:], "missing before it|are not the exported ones"),
        (lines[:-2] + lines[-1:], "are not the exported ones|does not end where"),
        ([*lines[:-1], json.dumps(closing).encode() + b"\n"], "the closing line was changed"),
        ([*lines, lines[0]], "closing line is missing"),
        ([lines[1], lines[0], *lines[2:]], "missing before it"),
        ([b"{}\n", *lines], "not an entry of the audit log"),
        ([], "closing line is missing"),
    ]:
        file.write_bytes(b"".join(damaged))
        with pytest.raises(SetupError, match=reason):
            read_export(file, KEYS)
    file.write_bytes(b"".join(lines))
    with pytest.raises(SetupError, match="another SECRET_KEY"):
        read_export(file, [OTHER_KEY])


def test_what_was_not_exported_is_not_deleted(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match="run `resop audit export` with this date first"):
        exported_file(database, MARCH)
    exported = export(database, tmp_path / "old.ndjson")
    tamper(database, "UPDATE audit SET digest = '00' WHERE path = '/29'")
    with pytest.raises(SetupError, match="are not those of the database"):
        pruned(database, exported)
    assert len(paths(log)) == 70


def test_broken_chains_are_left_out_and_named(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    tamper(database, "UPDATE audit SET username = 'bob' WHERE path = '/3'")
    cli = new_log(database, "resop audit")
    done = export_entries(database, cli, KEYS, MARCH, tmp_path / "old.ndjson")
    assert len(done.faults) == 1 and "was changed" in done.faults[0]
    prune(database, cli, done.export)
    assert [path for path in paths(log) if path.startswith("/other")] == []
    assert "/3" in paths(log)


def test_existing_files_are_not_overwritten(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    file = tmp_path / "old.ndjson"
    file.write_text("kept")
    with pytest.raises(SetupError, match="exists: name a new file"):
        export(database, file)
    assert file.read_text() == "kept"
    with pytest.raises(SetupError, match="cannot be written: No such file or directory"):
        export(database, tmp_path / "none" / "old.ndjson")


def test_entries_without_a_chain_are_exported_too(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    statement = (
        "INSERT INTO audit (id, at, username, cluster, address, method, path, action, outcome,"
        " status, request) VALUES (:id, :at, 'ada', '', '', 'POST', '/old', '', 'done', 200, '')"
    )
    early = datetime(2025, 12, 1, tzinfo=UTC)
    values = {"at": "2025-12-01 00:00:00"}
    tamper(database, statement, id=lower_bound(early) + "a", **values)
    exported = export(database, tmp_path / "old.ndjson")
    assert exported.unchained == 1
    tamper(database, statement, id=lower_bound(early) + "b", **values)
    with pytest.raises(SetupError, match="entries without a chain that were not exported"):
        pruned(database, exported)
    tamper(database, "DELETE FROM audit WHERE id = :id", id=lower_bound(early) + "b")
    pruned(database, exported)
    assert "/old" not in paths(log) and faults(database) == []


def test_file_of_a_stream_reveals_what_the_database_has_no_more(
    database: Database, log: AuditLog, tmp_path: Path
) -> None:
    file = tmp_path / "stream.ndjson"
    export(database, file, APRIL)  # has the same lines
    assert verify_lines(entries_of(file), KEYS, database).verdict.faults == []
    tamper(database, "DELETE FROM audit WHERE at >= '2026-03-15'")
    tamper(database, "DELETE FROM audit_writer")
    assert verify_database(database, KEYS).verdict.faults == []  # nothing left that noted it
    found = verify_lines(entries_of(file), KEYS, database).verdict.faults
    assert any("were noted in the file, but it has" in fault for fault in found)
