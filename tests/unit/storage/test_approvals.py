"""Approvals: decided once, by the database alone, whatever happens at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from resop.errors import ApprovalExpired, ApprovalRefused, LimitReached
from resop.storage.approvals import ApprovalStore
from resop.storage.audit_chain import AuditChain
from resop.storage.audit_log import AuditFilter, AuditLog
from resop.storage.batch_dispatch import dispatch_batches
from resop.storage.batches import BatchStore
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.login_ends import LoginEnds
from resop.storage.models import (
    NOT_BEGUN,
    Approval,
    ApprovalState,
    Batch,
    BlockedUser,
    State,
    Task,
    now,
)
from resop.storage.tasks import NewTask, TaskStore
from resop.storage.webhooks import WebhookStore
from resop.storage.workers import WorkerStore
from tests.support.approvals import decided, entry_of, log_in, request_for, waiting_task
from tests.support.audit import KEY, faults
from tests.support.tasks import new_batch, new_task

APPROVED, REFUSED = ApprovalState.APPROVED, ApprovalState.REFUSED
HOUR = timedelta(hours=1)
NO = ApprovalRefused("carol@tango has refused to approve this: no")


@pytest.fixture
def chain() -> AuditChain:
    return AuditChain(KEY, "api")


@pytest.fixture
def approvals(
    database: Database, chain: AuditChain, credential_store: CredentialStore
) -> ApprovalStore:
    for name in ("ada", "bob", "carol"):
        log_in(credential_store, name)
    return ApprovalStore(database, chain)


Ask = Callable[..., Approval]


@pytest.fixture
def ask(task_store: TaskStore) -> Ask:
    """Add a task of ada that waits for approval; return its request."""

    def add(**values: object) -> Approval:
        task = waiting_task()
        approval = request_for(task, **values)
        assert task_store.add_all([NewTask(task, approval=approval)]) == [None]
        return approval

    return add


def ask_for_batch(database: Database, size: int = 3) -> tuple[Batch, Approval]:
    batch = new_batch(size=size)
    approval = request_for(batch)
    tasks = [
        waiting_task(approval=approval.id, batch=batch.id, number=number, parameters={"n": number})
        for number in range(size)
    ]
    assert BatchStore(database).add(batch, tasks, approval=approval) is None
    return batch, approval


def task_of(task_store: TaskStore, approval: Approval) -> Task:
    assert approval.task is not None
    found = task_store.get(approval.task)
    assert found is not None
    return found


def decide(store: ApprovalStore, approval: Approval, state: ApprovalState = APPROVED) -> bool:
    chosen = decided(approval, state)
    return store.decide(chosen, entry_of(approval), NO if state == REFUSED else None)


def test_task_runs_only_after_its_approval(
    approvals: ApprovalStore, task_store: TaskStore, worker_store: WorkerStore, ask: Ask
) -> None:
    approval = ask()
    assert approvals.waiting(9) == [approvals.get(approval.id)]
    assert task_store.claim(str(approval.task), "w") is None
    assert worker_store.waiting_tasks(now() + HOUR, 9) == []
    assert decide(approvals, approval)
    task = task_of(task_store, approval)
    assert (task.state, task.approved_at is not None) == (State.QUEUED, True)
    assert worker_store.waiting_tasks(task.created_at, 9) == [], "it is queued since now only"
    assert [each[0] for each in worker_store.waiting_tasks(now() + HOUR, 9)] == [approval.task]
    assert approvals.waiting(9) == [] and not approvals.has_waiting_task(approval)
    claimed = task_store.claim(str(approval.task), "w")
    assert claimed is not None and claimed.encrypted_payload == task.encrypted_payload is not None


def test_refused_task_never_runs_and_names_the_reason(
    approvals: ApprovalStore, task_store: TaskStore, ask: Ask
) -> None:
    approval = ask()
    assert decide(approvals, approval, REFUSED)
    task = task_of(task_store, approval)
    assert (task.state, task.encrypted_payload, task.started_at) == (State.FAILED, None, None)
    assert task.error is not None and task.error["type"] == "ApprovalRefused"
    assert task.error["message"] == NO.message and task.error["needs_repair"] == []
    assert not decide(approvals, approval), "it is decided"
    assert task_store.claim(str(approval.task), "w") is None


def test_decision_and_its_audit_entry_are_one(
    approvals: ApprovalStore, database: Database, ask: Ask
) -> None:
    approval = ask()
    assert decide(approvals, approval) and not decide(approvals, approval, REFUSED)
    entries = list(AuditLog(database).all_entries(AuditFilter(task=approval.task)))
    assert [each.path for each in entries] == [f"/approvals/{approval.id}"]
    assert faults(database) == []


def test_of_many_decisions_at_once_one_wins(
    database: Database, chain: AuditChain, task_store: TaskStore, approvals: ApprovalStore, ask: Ask
) -> None:
    requests = [ask() for _ in range(4)]
    ready = threading.Barrier(4, timeout=20)

    def settle(number: int) -> list[bool]:
        ready.wait()
        won = []
        for each in requests:
            if number < 2:
                won.append(decide(approvals, each, (APPROVED, REFUSED)[number]))
            elif number == 2:
                won.append(task_store.end(str(each.task), State.CANCELLED, when=NOT_BEGUN))
            else:
                won.append(approvals.expire(each, entry_of(each), ApprovalExpired()))
        return won

    with ThreadPoolExecutor(4) as pool:
        approved, refused, cancelled, expired = pool.map(settle, range(4))
    assert not any(expired), "none is due"
    for number, each in enumerate(requests):
        task = task_of(task_store, each)
        if cancelled[number]:
            assert task.state == State.CANCELLED and not refused[number]
        else:
            assert [approved[number], refused[number]].count(True) == 1
            assert task.state == (State.QUEUED if approved[number] else State.FAILED)
    assert faults(database) == []


def test_nothing_is_decided_for_a_task_that_has_ended(
    approvals: ApprovalStore, task_store: TaskStore, ask: Ask
) -> None:
    approval = ask()
    assert task_store.end(str(approval.task), State.CANCELLED, when=NOT_BEGUN)
    assert approvals.waiting(9) == []
    for state in (APPROVED, REFUSED):
        assert not decide(approvals, approval, state)
    current = approvals.get(approval.id)
    assert current is not None and current.state == ApprovalState.PENDING, "rolled back"


@pytest.mark.parametrize("who", ["ada", "carol"])
@pytest.mark.parametrize("how", ["revoked", "blocked", "expired"])
def test_without_the_login_of_requester_and_approver_nothing_is_decided(
    approvals: ApprovalStore,
    database: Database,
    credential_store: CredentialStore,
    task_store: TaskStore,
    ask: Ask,
    who: str,
    how: str,
) -> None:
    approval = ask()
    if how == "revoked":
        credential_store.revoke(f"{who}'s login", "gone")
    elif how == "blocked":
        LoginEnds(database).block(
            BlockedUser(username=who, cluster="tango", reason="left", blocked_by="root")
        )
        assert approvals.is_blocked(who, "tango")
    else:
        credential_store.delete_expired(now() + 2 * HOUR, 9)
        log_in(credential_store, who, expires_at=now() - HOUR)
        log_in(credential_store, "carol" if who == "ada" else "ada")
    assert not decide(approvals, approval)
    assert task_of(task_store, approval).state == State.PENDING_APPROVAL
    ends = LoginEnds(database)
    cancelled = ends.end_work(ends.ended_since(now() - 9 * HOUR)).cancelled
    assert cancelled == (1 if who == "ada" else 0)
    if who == "ada":
        error = task_of(task_store, approval).error
        assert error is not None and "the login of this task has ended" in error["message"]


def test_logout_leaves_a_waiting_task_and_the_key_that_it_needs(
    approvals: ApprovalStore,
    database: Database,
    credential_store: CredentialStore,
    task_store: TaskStore,
    ask: Ask,
) -> None:
    approval, ends = ask(), LoginEnds(database)
    with pytest.raises(LimitReached):
        credential_store.surplus("ada", "tango", 0)
    [login] = ends.end(["ada's login"], "logged out", keep_running=True)
    assert login.keeps_running and ends.forget_keys() == []
    assert credential_store.usable("ada's login") is not None
    assert decide(approvals, approval)
    assert task_store.claim(str(approval.task), "w") is not None


def test_expired_request_ends_its_tasks_once_and_cannot_be_approved(
    approvals: ApprovalStore, task_store: TaskStore, database: Database, ask: Ask
) -> None:
    late, open_one, withdrawn = (ask(expires_at=now() - HOUR), ask(), ask(expires_at=now() - HOUR))
    task_store.end(str(withdrawn.task), State.CANCELLED, when=NOT_BEGUN)
    assert approvals.waiting(9) == [approvals.get(open_one.id)] and not decide(approvals, late)
    assert {each.id for each in approvals.expired(9)} == {late.id, withdrawn.id}
    ended = [
        approvals.expire(each, entry_of(each), ApprovalExpired())
        for each in (late, late, withdrawn, open_one)
    ]
    assert ended == [True, False, False, False]
    task = task_of(task_store, late)
    assert task.state == State.TIMED_OUT and task.error is not None
    assert task.error["type"] == "ApprovalExpired" and task.encrypted_payload is None
    states = [approvals.get(each.id) for each in (late, withdrawn, open_one)]
    assert [each.state for each in states if each] == ["expired", "withdrawn", "pending"]
    assert approvals.expired(9) == []
    assert len(list(AuditLog(database).all_entries(AuditFilter()))) == 1


def test_batch_waits_as_a_whole_and_is_dispatched_after_its_approval(
    approvals: ApprovalStore, database: Database, task_store: TaskStore
) -> None:
    batch, approval = ask_for_batch(database)
    store = BatchStore(database)
    idle = dispatch_batches(database, 9)
    assert (idle.ended, idle.tasks) == ([], [])
    waiting = store.get(batch.id)
    assert waiting is not None and waiting.ended_at is None
    assert store.counts([batch.id]) == {batch.id: {State.PENDING_APPROVAL: 3}}
    assert [each.number for each in approvals.tasks(approval, 9)] == [0, 1, 2]
    assert [each.number for each in approvals.tasks(approval, 1, after=1)] == [2]
    found = approvals.of_batch(batch.id)
    assert found is not None and approvals.waiting(9) == [found]
    assert decide(approvals, found)
    dispatched = [task for task, *_ in dispatch_batches(database, 9).tasks]
    assert len(dispatched) == 3 and all(task_store.claim(each, "w") for each in dispatched)


@pytest.mark.parametrize("how", ["refused", "cancelled", "expired", "logged out"])
def test_batch_that_is_not_approved_ends(
    approvals: ApprovalStore, database: Database, how: str
) -> None:
    batch, approval = ask_for_batch(database)
    store, ends = BatchStore(database), LoginEnds(database)
    if how == "refused":
        assert decide(approvals, approval, REFUSED)
    elif how == "cancelled":
        assert store.cancel(batch.id, {"type": "TaskCancelled", "message": "x"}) == []
    elif how == "expired":
        approval.expires_at = now() - HOUR
        with database.write() as db:
            db.exec_driver_sql("UPDATE approval SET expires_at = '2020-01-01 00:00:00'")
        assert approvals.expire(approval, entry_of(approval), ApprovalExpired())
    else:
        ends.end(["ada's login"], "ended by its user")
        assert ends.end_work(ends.ended_since(now() - HOUR)).cancelled == 3
        dispatch_batches(database, 9)
    ended = store.get(batch.id)
    assert ended is not None and ended.ended_at is not None
    assert State.PENDING_APPROVAL not in store.counts([batch.id])[batch.id]
    assert not decide(approvals, approval)


def test_waiting_tasks_have_a_limit_of_their_own(
    task_store: TaskStore, approvals: ApprovalStore
) -> None:
    first, second, queued = waiting_task(), waiting_task(), new_task()
    new = [NewTask(each, approval=request_for(each)) for each in (first, second)]
    refusals = task_store.add_all([*new, NewTask(queued)], max_queued=1)
    assert [isinstance(each, LimitReached) for each in refusals] == [False, True, False]


def test_task_whose_session_died_with_its_worker_ends(
    approvals: ApprovalStore, database: Database, task_store: TaskStore, worker_store: WorkerStore
) -> None:
    log_in(CredentialStore(database), "held", worker="w9")
    task = waiting_task(credential="held's login")
    task_store.add_all([NewTask(task, approval=request_for(task))])
    assert "w9" in worker_store.heartbeats()
    assert worker_store.end_unheld(["w9"], {"type": "SessionExpired", "message": "x"}) == 1


def test_rows_of_a_request_are_deleted_with_its_task(
    approvals: ApprovalStore, task_store: TaskStore, database: Database, ask: Ask
) -> None:
    approval = ask(notify="https://chat.example.org/")
    webhooks = WebhookStore(database)
    assert [each.task for each in webhooks.due(9)] == [approval.id], "sent at once"
    assert task_store.delete_ended(now() + HOUR, 9) == 0, "it has not ended"
    assert decide(approvals, approval, REFUSED)
    assert task_store.delete_ended(now() + HOUR, 9) == 1
    assert approvals.get(approval.id) is None and webhooks.get(approval.id) is None
    _, approval = ask_for_batch(database)
    assert decide(approvals, approval, REFUSED)
    assert task_store.delete_ended(now() + HOUR, 9) == 3
    assert BatchStore(database).delete_old(now() + HOUR, 9) == 1
    assert approvals.get(approval.id) is None
