"""Streams of audit entries: every entry once, in order, in a file of its own mode and place."""

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from resop.storage import audit_stream
from resop.storage.audit_chain import Values
from resop.storage.audit_stream import AuditFile, AuditStream, streamed_chain
from resop.storage.database import Database
from resop.storage.models import AuditEntry
from tests.support.audit import audit_entry
from tests.support.hostile_text import HOSTILE_PARTS

WAIT_SECONDS = 30


class Receiver:
    """Keeps what it gets; refuses while `broken`, and blocks until `released` is set."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.broken = False
        self.released = threading.Event()
        self.released.set()

    def send(self, entry: AuditEntry) -> None:
        assert self.released.wait(WAIT_SECONDS)
        if self.broken:
            raise OSError("no space left on device")
        self.paths.append(entry.path)

    def close(self) -> None:
        pass


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_stream, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(audit_stream, "STOP_SECONDS", 0.1)


def entries(count: int) -> list[Values]:
    return [audit_entry(path=f"/{number}").model_dump() for number in range(count)]


def test_entries_arrive_in_order(receiver: Receiver) -> None:
    stream = AuditStream("test", receiver)
    stream.start()
    for entry in entries(500):
        stream.put([entry])
    stream.stop()
    assert receiver.paths == [f"/{number}" for number in range(500)] and stream.lost == 0


@pytest.mark.usefixtures("quick")
def test_nobody_waits_for_a_receiver_and_what_is_lost_is_counted(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_stream, "MAX_WAITING", 100)
    receiver.released.clear()
    stream = AuditStream("test", receiver)
    stream.start()
    stream.put(entries(500))  # returns although nothing is received
    assert 399 <= stream.lost <= 400
    receiver.released.set()
    stream.stop()
    sent = [int(path.removeprefix("/")) for path in receiver.paths]
    assert sent == sorted(set(sent)) and len(sent) == 500 - stream.lost


@pytest.mark.usefixtures("quick")
def test_broken_receiver_gets_everything_when_it_works_again(receiver: Receiver) -> None:
    receiver.broken = True
    stream = AuditStream("test", receiver)
    stream.start()
    stream.put(entries(5))
    receiver.broken = False
    stream.stop()
    assert receiver.paths == ["/0", "/1", "/2", "/3", "/4"] and stream.lost == 0


@pytest.mark.usefixtures("quick")
def test_receiver_that_stays_broken_does_not_delay_the_end(receiver: Receiver) -> None:
    receiver.broken = True
    stream = AuditStream("test", receiver)
    stream.start()
    stream.put(entries(5))
    stream.stop()
    assert stream.lost >= 5 and receiver.paths == []


def test_file_has_one_line_of_ascii_for_each_entry_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    file = AuditFile(path)
    before = os.umask(0)
    try:
        for part in HOSTILE_PARTS:
            file.send(audit_entry(path=f"/{part.encode('utf-8', 'replace').decode()}\n"))
    finally:
        os.umask(before)
        file.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    assert len(lines) == len(HOSTILE_PARTS)
    assert all(line.isascii() and json.loads(line)["path"] for line in lines)


@pytest.mark.parametrize("move", [lambda path: path.rename(f"{path}.1"), Path.unlink])
def test_file_is_opened_again_when_it_was_moved_or_deleted(
    tmp_path: Path, move: Callable[[Path], None]
) -> None:
    path = tmp_path / "audit.ndjson"
    file = AuditFile(path)
    file.send(audit_entry(path="/old"))
    move(path)
    file.send(audit_entry(path="/new"))
    file.close()
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == ["/new"]


def test_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "audit.ndjson"
    victim.write_text("")
    path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        AuditFile(path).send(audit_entry())
    assert victim.read_text() == ""


def test_line_written_in_part_does_not_damage_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.ndjson"
    file, write = AuditFile(path), os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:10]))
        with pytest.raises(OSError, match="only a part of an entry"):
            file.send(audit_entry(path="/torn"))
    file.send(audit_entry(path="/whole"))
    file.close()
    assert json.loads(path.read_text().splitlines()[1])["path"] == "/whole"


def test_many_processes_may_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    files = [AuditFile(path) for _ in range(4)]

    def append(file: AuditFile) -> None:
        for number in range(100):
            file.send(audit_entry(path=f"/{number}", options={"text": "x" * 9000}))

    threads = [threading.Thread(target=append, args=[file]) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for file in files:
        file.close()
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 400


def test_only_committed_entries_are_passed_on(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    chain, streams = streamed_chain(b"k" * 32, "api", path)
    for stream in streams:
        stream.start()
    with chain.transaction() as appender, database.write() as db:
        appender.append(db, [audit_entry(path="/kept")])
    with (
        pytest.raises(KeyError),
        chain.transaction() as appender,
        database.write() as db,
    ):
        appender.append(db, [audit_entry(path="/undone")])
        raise KeyError
    for stream in streams:
        stream.stop()
    shown = [json.loads(line) for line in path.read_text().splitlines()]
    assert [each["path"] for each in shown] == ["", "/kept"]
    assert [each["sequence"] for each in shown] == [1, 2] and all(each["digest"] for each in shown)
