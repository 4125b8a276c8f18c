"""Launch a batch for a caller: many tasks from one request."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import anyio
from starlette.concurrency import run_in_threadpool

from api.http.preferences import Preferences
from api.http.request_context import Caller
from api.http.table_body import ItemTable
from api.state import rate_limit
from api.state.services import Services
from api.tasks.approval_request import ApprovalRequest
from api.tasks.batch_factory import PREVIEWED_ITEMS, BatchFactory, new_batch
from api.tasks.factory import dry_run_json
from api.tasks.idempotency import check_same_request, idempotency_key
from api.tasks.run_action import permit
from resop.actions.call import content_digest
from resop.actions.catalog import Action
from resop.actions.options import check_options
from resop.actions.sweep import BatchBody
from resop.config.policy import Decision
from resop.errors import QueueUnavailable, RequestError, UnknownAction
from resop.messaging.messages import BatchReady
from resop.security.encryption import Encryptor
from resop.storage.audit_log import items_record
from resop.storage.models import Batch, IdempotencyKey, State, Task
from resop.types import ActionKind

log = logging.getLogger(__name__)

_concurrency = anyio.CapacityLimiter(2)
"""How many batches are created and stored at a time: each takes memory and the processor."""


class LaunchedBatch(NamedTuple):
    """The result of a launch: the batch, or what it would be."""

    batch_id: str
    dry_run: dict[str, Any] | None = None
    """For a dry run: the JSON that describes the first items."""


async def launch_batch(
    services: Services,
    caller: Caller,
    action: Action,
    body: Mapping[str, Any],
    preferences: Preferences,
    table: ItemTable | None = None,
) -> LaunchedBatch:
    """Check the policy, validate every item, and store the tasks for the workers to dispatch.

    `body` is not yet validated; `table` is where its items come from, if not from JSON. Raises
    Forbidden, InvalidOptions, LimitReached, IdempotencyKeyReused, RecordsUnavailable or
    UnknownAction; then no task runs.
    """
    if action.in_api:
        raise UnknownAction(f"{action.title} cannot be run in a batch")
    decision = await permit(services, caller, action.title, with_approval=True)
    checked = await run_in_threadpool(check_options, BatchBody, body)
    assert isinstance(checked, BatchBody)
    batch = new_batch(action, caller.token, preferences, at_once=checked.at_once)
    launch = _Launch(services, caller, action, preferences, batch, decision)
    return await launch.run(
        lambda factory: factory.create(checked, table), lambda: {"batch": checked.model_dump()}
    )


async def retry_batch(
    services: Services,
    caller: Caller,
    old: Batch,
    states: Sequence[State],
    preferences: Preferences,
) -> LaunchedBatch:
    """Launch a new batch of those items of `old` whose tasks ended in one of these states.

    Raises what `launch_batch` raises, and RequestError if there is nothing to repeat, or if some
    options were secret: those are not stored.
    """
    if old.secret:
        raise RequestError(
            "this batch cannot be repeated, because some of its options were secret and are not "
            "stored: send its items as a new batch"
        )
    action = services.catalog.action(old.operator, ActionKind(old.kind).code, old.action)
    decision = await permit(services, caller, action.title, with_approval=True)
    inputs = await run_in_threadpool(
        services.storage.batches.options_and_parameters, old.id, states
    )
    if not inputs:
        raise RequestError(f"no task of this batch is {' or '.join(states)}")
    preferences = preferences.model_copy(update={"tag": preferences.tag or old.tags})
    batch = new_batch(action, caller.token, preferences, at_once=old.at_once, retry_of=old.id)
    launch = _Launch(services, caller, action, preferences, batch, decision)
    return await launch.run(
        lambda factory: factory.repeat(old, inputs), lambda: {"retry": old.id, "state": states}
    )


class _Launch:
    """One batch on its way into the database."""

    def __init__(
        self,
        services: Services,
        caller: Caller,
        action: Action,
        preferences: Preferences,
        batch: Batch,
        decision: Decision,
    ) -> None:
        self._services = services
        self._caller = caller
        self._action = action
        self._preferences = preferences
        self._batch = batch
        self._decision = decision
        self._approval = ApprovalRequest.of(services, caller, decision)
        self._factory = BatchFactory(services, caller, action, preferences, batch, self._approval)

    async def run(
        self, create: Callable[[BatchFactory], None], content: Callable[[], Any]
    ) -> LaunchedBatch:
        """Create the tasks and store them. `content` is the request as JSON, for its digest."""
        return await anyio.to_thread.run_sync(self._run, create, content, limiter=_concurrency)

    def _run(
        self, create: Callable[[BatchFactory], None], content: Callable[[], Any]
    ) -> LaunchedBatch:
        services, context, batch = self._services, self._caller.context, self._batch
        dry_run = self._preferences.dry_run
        key = self._idempotency_key(content)
        if key and not dry_run and (earlier := services.storage.idempotency_keys.get(key.id)):
            return _earlier(earlier, key)
        create(self._factory)
        if dry_run:
            context.nothing_done()
            return LaunchedBatch(batch.id, self._dry_run())
        context.options = batch.options
        tasks = self._factory.tasks
        context.items = items_record([task.parameters for task in tasks])
        anyio.from_thread.run(
            partial(rate_limit.count, tasks=len(tasks)),
            services.messaging.redis,
            services.access.encryptor,
            self._decision,
            self._caller.token,
        )
        approval = None
        if self._approval is not None:
            context.items |= self._approval.audit_record(batch)
            approval = self._approval.row(batch)
        if (earlier := services.storage.batches.add(batch, tasks, key, approval)) and key:
            return _earlier(earlier, key)
        try:
            services.messaging.publisher.publish(BatchReady())
        except QueueUnavailable:
            log.warning("a new batch was not published to the workers: Redis is unavailable")
        return LaunchedBatch(batch.id)

    def _idempotency_key(self, content: Callable[[], Any]) -> IdempotencyKey | None:
        if self._preferences.idempotency_key is None:
            return None

        def digest(encryptor: Encryptor) -> str:
            return content_digest(encryptor, self._action, content())

        return idempotency_key(
            self._services, self._preferences.idempotency_key, self._batch, digest
        )

    def _dry_run(self) -> dict[str, Any]:
        tasks, batch = self._factory.tasks[:PREVIEWED_ITEMS], self._batch
        steps = itertools.chain(self._factory.first_steps, itertools.repeat({}))
        return {
            "success": True,
            "dry_run": True,
            "action": f"{batch.operator}:{batch.action}",
            "size": batch.size,
            "items": [
                {"item": task.parameters, **dry_run_json(task, step), **_fault(task)}
                for task, step in zip(tasks, steps, strict=False)
            ],
            "time_limit": tasks[0].time_limit,
        }


def _fault(task: Task) -> dict[str, Any]:
    """Return the error of an item that is invalid, and would fail."""
    return {"error": task.error} if task.error else {}


def _earlier(earlier: IdempotencyKey, key: IdempotencyKey) -> LaunchedBatch:
    """Return the batch of an earlier request with this key, if it was the same request."""
    check_same_request(earlier, key)
    return LaunchedBatch(earlier.task)
