"""Run an action for a caller: the use case below HTTP that the JSON API and the pages share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool

from api.http.preferences import Preferences
from api.http.request_context import Caller
from api.state import rate_limit
from api.state.services import Services
from api.state.turns import end_turn
from api.tasks.approval_request import ApprovalRequest
from api.tasks.factory import dry_run_json, first_step_of, new_task
from api.tasks.idempotency import earlier_task, idempotency_key
from api.tasks.off_loop import off_loop
from api.tasks.waiting import wait_for_end, wait_for_shared
from resop.actions.call import ActionCall
from resop.actions.catalog import Action
from resop.actions.operation import Operation
from resop.config.policy import Decision
from resop.errors import QueueUnavailable, RecordsUnavailable
from resop.storage.models import IdempotencyKey, State, Task
from resop.storage.tasks import NewTask


class ActionRun(NamedTuple):
    """The task that answers a request."""

    task: Task
    age: float | None = None
    """The age of the answer in seconds, 0 for a new one; None if it may not be shared."""


async def permit(
    services: Services, caller: Caller, action: str, *, with_approval: bool = False
) -> Decision:
    """Return the policy's decision on `operator:action`. Raises Forbidden, naming the rule.

    Raises ApprovalRequired if approval is needed, unless the caller of this function requests it.
    """
    caller.context.action = action
    token = caller.token
    decision = await services.access.permissions.decide(
        action, token.identity, token.credential, token.scope
    )
    decision.enforce(with_approval=with_approval)
    return decision


async def run_action(
    services: Services,
    caller: Caller,
    action: Action,
    options: Mapping[str, Any],
    preferences: Preferences,
) -> ActionRun:
    """Check the policy, options and limits; submit a task, or share an answer; wait for the end.

    `options` are not yet validated. Returns the task as it is when it has ended or when the
    preferred wait is over. Raises Forbidden, InvalidOptions, LimitReached, IdempotencyKeyReused,
    QueueUnavailable or RecordsUnavailable; then no task runs for this request, unless the error's
    `retryable` is false.
    """
    deadline = time.monotonic() + preferences.wait
    decision = await permit(services, caller, action.title, with_approval=True)
    approval = ApprovalRequest.of(services, caller, decision)
    if approval is not None and not (preferences.applied or "").startswith("wait="):
        # A person has to decide first: nobody waits for that unless asked to.
        preferences, deadline = preferences.model_copy(update={"wait": 0.0}), time.monotonic()
    call, task = await _prepare(services, caller, action, options, preferences, approval)
    run = _Run(services, caller, call, preferences, task, deadline, approval)
    if isinstance(action, Operation) and action.preview:
        await run_in_threadpool(first_step_of, services, caller.token, call)
    caller.context.options = call.masked
    await rate_limit.count(
        services.messaging.redis, services.access.encryptor, decision, caller.token
    )
    if action.share_for and preferences.may_share and approval is None:
        return await run.share_answer(action.share_for)
    return ActionRun(await run.submit())


class DryRun(NamedTuple):
    """The answer to a request for a dry run."""

    shown: dict[str, Any]
    """The command line and the options, for an action whose steps are not run."""
    task: Task | None = None
    """The task that runs the steps that only read, for an operation with `dry_run`."""


async def dry_run_action(
    services: Services,
    caller: Caller,
    action: Action,
    options: Mapping[str, Any],
    preferences: Preferences,
) -> DryRun:
    """Check the policy and the options as `run_action` does; return what a task would run.

    An operation with `dry_run` is left to a worker, and the end waited for as by `run_action`. A
    dry run needs no approval.
    """
    deadline = time.monotonic() + preferences.wait
    decision = await permit(services, caller, action.title, with_approval=True)
    # A key belongs to the real run, which must not get the task of its dry run.
    preferences = preferences.model_copy(update={"idempotency_key": None})
    call, task = await _prepare(services, caller, action, options, preferences)
    if action.dry_run:
        caller.context.options, caller.context.dry_run = call.masked, True
        await rate_limit.count(
            services.messaging.redis, services.access.encryptor, decision, caller.token
        )
        run = _Run(services, caller, call, preferences, task, deadline)
        return DryRun({}, await run.submit())
    step: dict[str, Any] = {}
    if isinstance(action, Operation) and action.preview:
        step = await run_in_threadpool(first_step_of, services, caller.token, call)
    caller.context.nothing_done()
    shown = {"success": True, "dry_run": True, "action": action.title}
    if decision.approvers is not None:
        shown["approval"] = f"{decision.place}: {decision.approvers} has to approve it"
    return DryRun({**shown, **dry_run_json(task, step), "time_limit": task.time_limit})


async def _prepare(
    services: Services,
    caller: Caller,
    action: Action,
    options: Mapping[str, Any],
    preferences: Preferences,
    approval: ApprovalRequest | None = None,
) -> tuple[ActionCall, Task]:
    """Return the validated call and its task; long options are left to a thread."""

    def prepare() -> tuple[ActionCall, Task]:
        call = ActionCall.check(action, options)
        return call, new_task(services, caller, call, preferences, approval)

    return await off_loop(prepare, options)


class _Run:
    """One validated call on its way to a task that has ended."""

    def __init__(
        self,
        services: Services,
        caller: Caller,
        call: ActionCall,
        preferences: Preferences,
        task: Task,
        deadline: float,
        approval: ApprovalRequest | None = None,
    ) -> None:
        self._services = services
        self._caller = caller
        self._call = call
        self._preferences = preferences
        self._deadline = deadline
        self._task = task
        self._approval = approval

    async def share_answer(self, share_for: float) -> ActionRun:
        """Return the task of an identical request of this user, else submit this one's task."""
        services, task = self._services, self._task
        digest = await off_loop(
            lambda: self._call.digest(services.access.encryptor), self._call.values
        )
        max_age = 0.0 if self._preferences.fresh else self._preferences.max_age
        while answer := services.messaging.answers.find(digest, task, max_age):
            age = answer.age
            if ended := await wait_for_shared(services, answer, self._deadline):
                return ActionRun(ended, age)
        publishing = services.messaging.answers.publishing(digest, task, share_for)
        return ActionRun(await self.submit(publishing), age=0.0)

    async def submit(
        self,
        publishing: AbstractContextManager[None] = nullcontext(),  # noqa: B008
    ) -> Task:
        """Store and queue the task, or find the earlier one of its key; wait for its end.

        The task is queued inside of `publishing`.
        """
        services, task = self._services, self._task
        # A client that waits has been promised nothing yet, and a worker's claim makes the task
        # durable with it.
        durable = self._preferences.wait == 0 or self._approval is not None
        key = await self._idempotency_key()
        end_turn()
        with services.messaging.waiters.waiting(task.id) as waiter:
            with publishing:
                earlier = await self._store(key, durable=durable)
            if key is not None and earlier is not None:
                ended = await earlier_task(services, earlier, key, self._deadline)
            else:
                ended = await wait_for_end(services, task, waiter, self._deadline)
        if (earlier or not durable) and ended.state == State.QUEUED:
            await self._make_durable(ended.id)
        return ended

    async def _make_durable(self, task_id: str) -> None:
        """Make sure that a queued task survives a crash of the database: it will be promised.

        Raises RecordsUnavailable, which says that the request must not simply be repeated.
        """
        try:
            await run_in_threadpool(self._services.storage.tasks.make_durable, task_id)
        except RecordsUnavailable as fault:
            raise RecordsUnavailable(
                f"the database cannot be reached: the task {task_id} is queued and will probably "
                "run; ask for it before you repeat the request",
                task=task_id,
                retryable=False,
            ) from fault

    async def _store(self, key: IdempotencyKey | None, *, durable: bool) -> IdempotencyKey | None:
        """Write the task with its audit entry and queue it, as `TaskSubmitter.add`."""
        context, worker = self._caller.context, self._caller.token.worker
        approval = None
        if self._approval is not None:
            approval = await run_in_threadpool(self._approval.row, self._task)
            context.items = self._approval.audit_record(self._task)
        new = NewTask(self._task, key, context.accepted(self._task.id), approval)
        try:
            earlier = await self._services.messaging.submitter.add(new, worker, durable=durable)
        except QueueUnavailable:
            context.needs_audit = False  # the task is stored with its entry, and has failed
            raise
        if earlier is None:
            context.needs_audit = False
        return earlier

    async def _idempotency_key(self) -> IdempotencyKey | None:
        if self._preferences.idempotency_key is None:
            return None
        return await run_in_threadpool(
            idempotency_key,
            self._services,
            self._preferences.idempotency_key,
            self._task,
            self._call.digest,
        )
