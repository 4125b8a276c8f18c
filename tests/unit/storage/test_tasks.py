"""The record on SQLite: one winner, ends that never change, queries, faults."""

from __future__ import annotations

import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from resop.errors import LimitReached, RecordsUnavailable
from resop.storage.audit_log import AuditEntry, AuditFilter, AuditLog, RequestOutcome, cut
from resop.storage.models import Credential, IdempotencyKey, State, Step, Task, now
from resop.storage.tasks import Change, Records, _queued
from tests.support.ids import next_id
from tests.support.tasks import new_task as task

HOUR = timedelta(hours=1)
ENDED = [state for state in State if state.ended]


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/resop.db"


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = Records(url(tmp_path))
    opened.create_tables()
    yield opened
    opened.close()


@pytest.fixture
def queued(records: Records) -> Task:
    added = task()
    records.add_task(added)
    return added


def found(records: Records, task_id: str) -> Task:
    looked_up = records.task(task_id)
    assert looked_up is not None
    return looked_up


# -- what is written reads back


def test_task_reads_back_as_it_was_written(records: Records) -> None:
    written = task(tags=["a", "b"], command="echo x", state=State.QUEUED)
    records.add_task(written)
    assert found(records, written.id) == written
    assert records.task("no-such-task") is None


@pytest.mark.parametrize(
    "value",
    [
        "😀 4-byte é",
        "a\x00b",
        "\u2028",
        "x" * 200_000,
        {"😀": ["é", None, 1.5, True, {}]},
        0,
        False,
    ],
)
def test_any_text_and_json_survives(records: Records, queued: Task, value: Any) -> None:
    records.claim(queued.id, "w")
    records.apply([Change.ended(queued.id, State.SUCCEEDED, output=value, stderr=str(value))])
    read = found(records, queued.id)
    assert (read.output, read.stderr) == (value, str(value))


def test_half_a_character_does_not_stop_the_record(records: Records, queued: Task) -> None:
    records.claim(queued.id, "w")
    error = {"message": "half \ud83d"}
    records.apply([Change.ended(queued.id, State.FAILED, error=error, log=["\udcff"])])
    read = found(records, queued.id)
    assert read.state == State.FAILED
    assert (read.error, read.log) == ({"message": "half ?"}, ["?"])


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
def test_times_are_aware_utc_with_microseconds(records: Records, zone: timezone) -> None:
    moment = datetime(2026, 3, 1, 12, 30, 45, 123456, tzinfo=zone)
    written = task(created_at=moment)
    records.add_task(written)
    read = found(records, written.id).created_at
    assert read == moment
    assert read.tzinfo is UTC
    assert now().tzinfo is UTC


# -- claims


def test_claimed_task_is_running_and_has_its_worker(records: Records, queued: Task) -> None:
    before = now()
    claimed = records.claim(queued.id, "worker-1")
    recorded = found(records, queued.id)
    assert (recorded.state, recorded.worker) == (State.RUNNING, "worker-1")
    assert recorded.started_at is not None
    assert before <= recorded.started_at <= now()
    assert claimed is not None
    assert asdict(claimed) == {name: getattr(recorded, name) for name in asdict(claimed)}
    assert claimed.encrypted_payload == queued.encrypted_payload is not None


@pytest.mark.parametrize("state", [State.RUNNING, *ENDED])
def test_task_that_is_not_queued_cannot_be_claimed(records: Records, state: State) -> None:
    other = task(state=state)
    records.add_task(other)
    assert records.claim(other.id, "w") is None
    assert records.claim("no-such-task", "w") is None
    assert found(records, other.id).worker is None


def several(records: Records, count: int) -> list[str]:
    """The ids of so many queued tasks."""
    ids = [next_id() for _ in range(count)]
    for each in ids:
        records.add_task(task(id=each))
    return ids


def test_each_task_has_one_winner_among_threads(records: Records) -> None:
    ids = several(records, 8)
    start = threading.Barrier(16, timeout=20)

    def claim_all(worker: str) -> list[str]:
        start.wait()
        return [each for each in ids if records.claim(each, worker)]

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(claim_all, map(str, range(16))))
    assert sorted(each for ids_won in won for each in ids_won) == sorted(ids)


def claim_in_process(database: str, ids: list[str], worker: str, start: Any) -> list[str]:
    records = Records(database)
    start.wait(30)
    try:
        return [each for each in ids if records.claim(each, worker)]
    finally:
        records.close()


def test_each_task_has_one_winner_among_processes(records: Records, tmp_path: Path) -> None:
    ids = several(records, 40)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resop.storage.tasks"])
    with context.Manager() as manager, context.Pool(4) as pool:
        start = manager.Barrier(4)
        arguments = [(url(tmp_path), ids, f"worker-{number}", start) for number in range(4)]
        won = pool.starmap(claim_in_process, arguments, chunksize=1)
    assert sorted(each for ids_won in won for each in ids_won) == sorted(ids)
    for number, ids_won in enumerate(won):
        assert {found(records, each).worker for each in ids_won} <= {f"worker-{number}"}


def make_tables(database: str, start: Any) -> None:
    records = Records(database)
    start.wait(30)
    records.create_tables()
    records.heartbeat(str(threading.get_ident()))
    records.close()


def test_processes_that_start_at_once_make_the_tables_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["resop.storage.tasks"])
    with context.Manager() as manager, context.Pool(6) as pool:
        start = manager.Barrier(6)
        pool.starmap(make_tables, [(url(tmp_path), start)] * 6, chunksize=1)


def test_unclaimed_task_can_be_claimed_again(records: Records, queued: Task) -> None:
    records.claim(queued.id, "worker-1")
    assert not records.unclaim(queued.id, "worker-2"), "it is another worker's"
    assert records.unclaim(queued.id, "worker-1")
    assert found(records, queued.id) == queued
    assert not records.unclaim(queued.id, "worker-1")
    assert records.claim(queued.id, "worker-2") is not None


# -- ends


@pytest.mark.parametrize("state", ENDED)
def test_end_is_written_and_the_envelope_is_gone(
    records: Records, queued: Task, state: State
) -> None:
    records.claim(queued.id, "w")
    records.apply([Change.ended(queued.id, state, output="x", exit_code=3, seconds=0.5)])
    read = found(records, queued.id)
    assert (read.state, read.output, read.exit_code, read.seconds) == (state, "x", 3, 0.5)
    assert read.encrypted_payload is None
    assert read.ended_at is not None
    assert read.options == queued.options


@pytest.mark.parametrize("first", ENDED)
def test_ended_task_never_changes(records: Records, queued: Task, first: State) -> None:
    records.claim(queued.id, "w")
    assert records.end(queued.id, first, output="first")
    before = found(records, queued.id)
    for state in State:
        assert not records.end(queued.id, state, output="second")
        assert not records.end(queued.id, state, when=State.QUEUED, output="second")
        records.apply([Change.ended(queued.id, state, output="second", log=["second"])])
    records.apply([Change.progress(queued.id, log=["second"])])
    assert not records.unclaim(queued.id, "w")
    assert records.claim(queued.id, "w") is None
    assert found(records, queued.id) == before


def test_queued_task_ends_only_for_who_expects_it_queued(records: Records, queued: Task) -> None:
    assert not records.end(queued.id, State.FAILED)
    assert records.end(queued.id, State.FAILED, when=State.QUEUED, error={"type": "X"})
    assert found(records, queued.id).error == {"type": "X"}
    assert records.claim(queued.id, "w") is None


def test_one_of_two_ends_wins(records: Records, queued: Task) -> None:
    records.claim(queued.id, "w")
    start = threading.Barrier(8, timeout=20)

    def end(state: State) -> bool:
        start.wait()
        return records.end(queued.id, state)

    states = [ENDED[number % len(ENDED)] for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(end, states))
    assert sum(wrote) == 1
    assert found(records, queued.id).state == states[wrote.index(True)]


# -- steps, written in groups


def step(task_id: str, number: int, **values: Any) -> Step:
    common: dict[str, Any] = {"command": "echo 😀", "started_at": now()}
    return Step(task=task_id, number=number, **common | values)


def test_group_of_changes_is_written_in_order(records: Records, queued: Task) -> None:
    records.claim(queued.id, "w")
    records.apply(
        [
            Change.step_begun(step(queued.id, 1)),
            Change.step_ended(queued.id, 1, exit_code=0, stdout="é", truncated=True),
            Change.progress(queued.id, log=["half"], progress={"done": 1, "total": 2}),
            Change.step_begun(step(queued.id, 2, undo=True)),
            Change.step_ended(queued.id, 2, error="lost"),
            Change.ended(queued.id, State.LOST, log=["half", "all"]),
        ]
    )
    first, second = records.steps(queued.id)
    assert (first.number, first.command, first.stdout) == (1, "echo 😀", "é")
    assert (first.exit_code, first.truncated, first.undo) == (0, True, False)
    assert (second.number, second.error, second.undo) == (2, "lost", True)
    assert found(records, queued.id).log == ["half", "all"]
    assert records.steps("no-such-task") == []


def test_group_is_written_as_a_whole_or_not_at_all(records: Records, queued: Task) -> None:
    records.claim(queued.id, "w")
    twice = [Change.step_begun(step(queued.id, 1)), Change.step_begun(step(queued.id, 1))]
    with pytest.raises(Exception, match="UNIQUE"):
        records.apply([Change.ended(queued.id, State.SUCCEEDED), *twice])
    assert found(records, queued.id).state == State.RUNNING
    assert records.steps(queued.id) == []
    assert records.end(queued.id, State.FAILED), "the record is usable afterwards"


# -- keys


def key(task_id: str, **values: Any) -> IdempotencyKey:
    return IdempotencyKey(**{"id": "k", "digest": "d", "task": task_id} | values)


def test_key_is_that_of_the_first_task_and_no_other_is_written(records: Records) -> None:
    first, second = task(), task()
    assert records.add_task(first, key=key(first.id)) is None
    earlier = records.add_task(second, key=key(second.id, digest="other"))
    assert earlier is not None
    assert (earlier.task, earlier.digest) == (first.id, "d")
    assert records.task(second.id) is None
    records.forget_key("k")
    assert records.add_task(second, key=key(second.id)) is None


def test_of_many_requests_with_one_key_at_once_one_makes_a_task(records: Records) -> None:
    start = threading.Barrier(12, timeout=20)
    tasks = [task() for _ in range(12)]

    def add(new: Task) -> str:
        start.wait()
        earlier = records.add_task(new, key=key(new.id))
        return earlier.task if earlier else new.id

    with ThreadPoolExecutor(12) as pool:
        (known,) = set(pool.map(add, tasks))
    assert [each.id for each in tasks if records.task(each.id)] == [known]


def test_old_keys_are_forgotten_a_few_at_a_time(records: Records) -> None:
    for number in range(5):
        new = task()
        records.add_task(new, key=key(new.id, id=f"old{number}", created_at=now() - HOUR))
    new = task()
    records.add_task(new, key=key(new.id))
    moment = now() - timedelta(minutes=1)
    assert [records.forget_old_keys(moment, 3) for _ in range(3)] == [3, 2, 0]
    assert records.key("old0") is None and records.key("k") is not None


# -- credentials


def credential(number: int = 1, hours: float = 1) -> Credential:
    return Credential(
        id=f"credential-{number}",
        username="ada",
        cluster="tango",
        public_key="ssh-ed25519 AAAA",
        encrypted_key=b"\x00\xff",
        expires_at=now() + hours * HOUR,
    )


def test_live_credential_is_found_with_its_key(records: Records) -> None:
    added = credential()
    records.add_credential(added)
    read = records.credential("credential-1")
    assert read is not None
    assert read.model_dump() == added.model_dump()
    assert records.credential("credential-2") is None


def test_revoked_credential_is_gone_and_so_is_its_key(records: Records, tmp_path: Path) -> None:
    records.add_credential(credential(1))
    records.add_credential(credential(2))
    assert records.revoke("credential-1")
    assert not records.revoke("credential-1")
    assert not records.revoke("no-such-credential")
    assert records.credential("credential-1") is None
    assert records.credential("credential-2") is not None


def test_expired_credential_is_refused(records: Records) -> None:
    records.add_credential(credential(1, hours=-0.001))
    assert records.credential("credential-1") is None


def test_keys_of_expired_credentials_are_swept_at_the_next_login(
    records: Records, tmp_path: Path
) -> None:
    expired = credential(1, hours=-1)
    expired.encrypted_key = b"SEALED-AND-EXPIRED"
    records.add_credential(expired)
    records.add_credential(credential(2))
    with records.read() as db:
        keys = db.exec_driver_sql("SELECT id, encrypted_key FROM credential ORDER BY id").all()
    assert [tuple(row) for row in keys] == [("credential-1", None), ("credential-2", b"\x00\xff")]


# -- workers


def test_orphans_are_running_tasks_whose_worker_was_not_seen(records: Records) -> None:
    long_ago, moment = now() - HOUR, now() - timedelta(minutes=1)
    records.heartbeat("alive")
    records.heartbeat("alive")
    orphan = task(state=State.RUNNING, worker="dead", started_at=long_ago)
    for each in (
        orphan,
        task(state=State.RUNNING, worker="alive", started_at=long_ago),
        task(state=State.RUNNING, worker="fresh", started_at=now()),
        task(state=State.LOST, worker="dead", started_at=long_ago),
        task(),
    ):
        records.add_task(each)
    [told] = records.orphans(moment)
    assert (told.id, told.cluster, told.worker) == (orphan.id, "tango", "dead")
    assert (told.resume_count, told.pending_undo) == (None, None)
    records.forget_worker("alive")
    assert len(records.orphans(moment)) == 2
    assert len(records.orphans(now() + HOUR)) == 3


def test_task_is_handed_over_by_its_worker_and_claimed_by_one_other(records: Records) -> None:
    began = now() - HOUR
    left = task(
        state=State.RUNNING, worker="dead", started_at=began, created_at=began, resume_count=0
    )
    records.add_task(left)
    assert records.claim(left.id, "one") is None
    assert not records.hand_over(left.id, "another") and records.hand_over(left.id, "dead")
    assert not records.hand_over(left.id, "dead")
    assert records.waiting(now(), 10) == [(left.id, "tango", "")]
    assert records.orphans(now() + HOUR) == []
    taken = records.claim(left.id, "one")
    assert found(records, left.id).worker == "one"
    assert taken is not None and taken.resume_count == 1
    assert taken.started_at == began
    assert records.claim(left.id, "two") is None and records.waiting(now(), 10) == []


def test_waiting_tasks_are_told_oldest_first(records: Records) -> None:
    old = [task(created_at=now() - HOUR, cluster=name) for name in ("tango", "waltz", "tango")]
    for each in reversed(old):
        records.add_task(each)
    records.add_task(task())
    records.add_task(task(created_at=now() - HOUR, state=State.RUNNING))
    moment = now() - timedelta(minutes=1)
    assert records.waiting(moment, 10) == [(each.id, each.cluster, "") for each in old]
    assert records.waiting(moment, 2) == [(each.id, each.cluster, "") for each in old[:2]]


def test_waiting_tasks_of_a_kept_session_are_told_with_its_worker(records: Records) -> None:
    kept = Credential(
        id="kept", username="ada", cluster="tango", kind="held", worker="w", expires_at=now() + HOUR
    )
    records.add_credential(kept)
    waits = task(created_at=now() - HOUR, credential="kept")
    records.add_task(waits)
    assert records.waiting(now(), 10) == [(waits.id, "tango", "w")]


# -- on the disk


def test_what_is_written_is_on_the_disk_unless_that_is_left_to_the_next(records: Records) -> None:
    synchronous = {}
    for flushed in (True, False):
        with records.write(flushed=flushed) as db:
            synchronous[flushed] = db.exec_driver_sql("PRAGMA synchronous").scalar()
    assert synchronous == {True: 2, False: 1}  # FULL, NORMAL


def test_task_that_was_not_flushed_is_as_good_as_any(records: Records) -> None:
    added = task()
    records.add_task(added, flushed=False)
    records.flush_task(added.id)
    assert found(records, added.id) == added
    assert records.claim(added.id, "w") is not None


# -- when it is away


@pytest.mark.parametrize("place", ["none/resop.db", "", "/proc/resop.db", "file/resop.db"])
def test_database_that_cannot_be_opened_is_unavailable(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    records = Records(f"sqlite:///{tmp_path / place}")
    asked: list[Callable[[], object]] = [
        records.create_tables,
        records.check,
        lambda: records.add_task(task()),
    ]
    for ask in asked:
        with pytest.raises(RecordsUnavailable):
            ask()
    records.close()


def test_database_that_goes_away_is_unavailable_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    records = Records(url(folder))
    records.create_tables()
    added = task()
    records.add_task(added)
    records.close()
    shutil.move(folder, tmp_path / "away")
    with pytest.raises(RecordsUnavailable):
        records.check()
    with pytest.raises(RecordsUnavailable):
        records.claim(added.id, "w")
    shutil.move(tmp_path / "away", folder)
    records.check()
    assert records.claim(added.id, "w") is not None
    records.close()


def test_what_has_been_written_is_there_for_the_next_process(tmp_path: Path) -> None:
    added = task()
    for write in (True, False):
        records = Records(url(tmp_path))
        records.create_tables()
        if write:
            records.add_task(added)
        assert found(records, added.id) == added
        records.close()


# -- how many may wait


def test_tasks_of_a_user_that_wait_are_limited(records: Records) -> None:
    first, *_ = [task() for _ in range(2)]
    for each in (first, task()):
        records.add_task(each, most_queued=2)
    with pytest.raises(LimitReached, match="2 tasks of ada are waiting"):
        records.add_task(task(), most_queued=2)
    for other in (task(username="bob"), task(cluster="other")):
        records.add_task(other, most_queued=1)
    records.claim(first.id, "worker-1")
    records.add_task(task(), most_queued=2)


def test_key_of_a_task_is_found_when_no_further_one_may_wait(records: Records) -> None:
    first, second = task(), task()
    records.add_task(first, key=key(first.id), most_queued=1)
    earlier = records.add_task(second, key=key(second.id), most_queued=1)
    assert earlier is not None and earlier.task == first.id
    with pytest.raises(LimitReached):
        records.add_task(second, key=key(second.id, id="another"), most_queued=1)
    assert records.key("another") is None


def test_waiting_tasks_are_counted_by_an_index_and_no_further_than_the_limit(
    records: Records,
) -> None:
    records.add_task(task(), most_queued=1)
    asked: list[tuple[str, Any]] = []

    def note(_: Any, cursor: Any, statement: str, values: Any, *more: Any) -> None:
        asked.append((statement, values))

    with records.write() as db:
        event.listen(db, "before_cursor_execute", note)
        assert _queued(db, task().username, task().cluster, 1) == 1
        [(statement, values)] = asked
        plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    columns = "state=? AND worker=? AND username=? AND cluster=? AND batch=?"
    assert "LIMIT" in statement
    assert any(f"USING COVERING INDEX task_by_state ({columns})" in row[3] for row in plan), plan


# -- audit


def entry(**values: Any) -> AuditEntry:
    wanted = {"address": "192.0.2.1", "method": "POST", "path": "/", "status": 202}
    return AuditEntry(**{**wanted, "outcome": RequestOutcome.ACCEPTED, **values})


def test_entry_of_a_task_is_written_with_it_or_not_at_all(records: Records) -> None:
    first, second = task(), task()
    records.add_task(first, key=key(first.id), audit=entry(task=first.id))
    assert records.add_task(second, key=key(second.id), audit=entry(task=second.id)) is not None
    with pytest.raises(LimitReached):
        records.add_task(task(), most_queued=1, audit=entry())
    assert [each.task for each in AuditLog(records).all_entries(AuditFilter())] == [first.id]


def test_entries_are_found_by_who_what_when_and_outcome(records: Records) -> None:
    audit, began = AuditLog(records), now()
    for username, action, outcome in [
        ("ada", "slurm:squeue", RequestOutcome.ACCEPTED),
        ("ada", "slurm_x:squeue", RequestOutcome.ACCEPTED),
        ("bob", "core:run", RequestOutcome.REFUSED),
    ]:
        audit.add(entry(username=username, action=action, outcome=outcome))

    def found(**wanted: Any) -> list[str]:
        return [each.action for each in audit.all_entries(AuditFilter(**wanted))]

    assert found() == ["core:run", "slurm_x:squeue", "slurm:squeue"]
    assert found(username="ada", action="slurm:*") == ["slurm:squeue"]
    assert found(action="*_*") == ["slurm_x:squeue"]
    assert found(outcome="refused") == found(username="bob") == ["core:run"]
    assert found(since=began - HOUR, until=began + HOUR) == found()
    assert found(until=began - HOUR) == found(since=began + HOUR) == []
    _, middle, oldest = audit.entries(AuditFilter(), 10)
    assert audit.entries(AuditFilter(), 1, middle.id) == [oldest]


def test_long_texts_of_an_entry_are_cut() -> None:
    options = {"script": "x" * 5000, "list": ["y" * 5000, 1], "short": "z"}
    kept = cut(options)
    assert kept["short"] == "z" and kept["list"][1] == 1
    assert kept["script"] == "x" * 4096 + "… (5000 characters)"
    assert len(kept["list"][0]) < 4200
