"""Launches batches: many tasks from one request, new ones or those of a batch that failed."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api.auth.dependencies import CurrentToken, ServicesDep
from api.http.body import read_options
from api.http.openapi import PREFERENCES, TEMPLATE
from api.http.preferences import read_preferences
from api.routes.batch_models import BatchProgress, look_again, own_batch, progress
from api.state import rate_limit
from api.state.services import Services, services_of
from api.tasks.batch_factory import SHOWN_ITEMS, BatchFactory, new_batch
from api.tasks.factory import shown_dry
from api.tasks.idempotency import read_key
from resop.actions.catalog import Action, Kind
from resop.actions.operation import Operation
from resop.actions.options import check_options
from resop.actions.sweep import BatchBody
from resop.errors import IdempotencyKeyReused, QueueUnavailable, RequestError, UnknownAction
from resop.security.tokens import Token
from resop.storage.models import Batch, IdempotencyKey, State, Task
from resop.types import ActionKind

log = logging.getLogger(__name__)

router = APIRouter(tags=["batches"])

Ended = Literal[State.FAILED, State.TIMED_OUT, State.CANCELLED, State.LOST, State.SUCCEEDED]
TO_RETRY: list[Ended] = [State.FAILED, State.TIMED_OUT, State.CANCELLED]
"""Not `lost`, unless that is asked for: such a task may have run."""
_PARAMETERS = [each for each in PREFERENCES if each["name"] != "Prefer"]

_at_work = anyio.CapacityLimiter(2)
"""Batches that are made and written at the same time: each takes memory and the processor."""


@router.post(
    "/{operator}/{kind}/{action}/batch",
    status_code=202,
    response_model=BatchProgress,
    openapi_extra={
        "parameters": _PARAMETERS,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": TEMPLATE.format(model="BatchBody")}}
            },
        },
    },
)
async def launch(
    operator: str,
    kind: Kind,
    action: str,
    services: ServicesDep,
    token: CurrentToken,
    request: Request,
) -> Response:
    """Run an action with many sets of options: one task for each item.

    The items are the combinations of a sweep's values, or are listed. Every one of them is
    checked before anything is written; one that is refused refuses the batch. Tasks of a batch
    run a few at a time, in turn with those of other batches and users, and are found among
    the caller's tasks like any other. `202` with the batch: look at Location.
    """
    found = services.catalog.action(operator, kind, action)
    if isinstance(found, Operation) and found.in_api:
        raise UnknownAction(f"{found.title} runs by itself only, not in a batch")
    count = await _permitted(found, services, token, request)
    preferred = read_preferences(request, 0, services.settings.notify_hosts)
    given = await read_options(request, BatchBody)
    body = await run_in_threadpool(check_options, BatchBody, given)
    assert isinstance(body, BatchBody)
    batch = new_batch(found, token, preferred, at_once=body.at_once)
    maker = BatchFactory(batch, found, token, services, preferred, request.state.request_id)
    return await _launch(
        maker,
        lambda: maker.from_body(body),
        lambda: {"batch": body.model_dump()},
        count,
        request,
    )


@router.post(
    "/batches/{batch_id}/retry",
    status_code=202,
    response_model=BatchProgress,
    openapi_extra={"parameters": _PARAMETERS},
)
async def retry(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    request: Request,
    state: Annotated[
        list[Ended], Query(description="states of the tasks to repeat; 'lost' only if given")
    ] = TO_RETRY,
) -> Response:
    """A new batch of the items whose tasks failed, timed out or were cancelled.

    Refused where options were secret: they are not kept, so that such a batch has to be sent
    again by who knows them.
    """
    old = await own_batch(services, token, batch_id)
    if old.secret:
        raise RequestError(
            "some of this batch's options were secret and are not kept: it cannot be made again "
            "from the record; send its items as a new batch"
        )
    kind: Kind = "cmd" if old.kind == ActionKind.COMMAND else "opn"
    action = services.catalog.action(old.operator, kind, old.action)
    count = await _permitted(action, services, token, request)
    preferred = read_preferences(request, 0, services.settings.notify_hosts)
    given = await run_in_threadpool(services.batches.options_and_parameters, batch_id, state)
    if not given:
        raise RequestError(f"none of its tasks is {' or '.join(state)}")
    preferred = preferred.model_copy(update={"tag": preferred.tag or old.tags})
    batch = new_batch(action, token, preferred, at_once=old.at_once, retry_of=old.id)
    maker = BatchFactory(batch, action, token, services, preferred, request.state.request_id)
    return await _launch(
        maker,
        lambda: maker.again(old, given),
        lambda: {"retry": batch_id, "state": state},
        count,
        request,
    )


async def _permitted(
    action: Action, services: Services, token: Token, request: Request
) -> Callable[[int], Coroutine[Any, Any, None]]:
    """What counts the tasks of a batch; Forbidden where the policy says so."""
    request.state.action = action.title
    decision = await services.permissions.decide(action.title, token.username, token.credential)
    decision.enforce()
    return partial(rate_limit.count, services.redis, decision, token)


async def _launch(
    maker: BatchFactory,
    make: Callable[[], list[Task]],
    asked: Callable[[], Any],
    count: Callable[[int], Coroutine[Any, Any, None]],
    request: Request,
) -> Response:
    """Make the tasks of a batch, write them, have them dealt out; or show what would be."""
    services = services_of(request)

    def work() -> str | dict[str, Any]:
        dry, batch = maker.preferred.dry_run, maker.batch
        key = anyio.from_thread.run(read_key, request, services, batch, asked())
        if key and not dry and (earlier := services.idempotency_keys.get(key.id)):
            return _same(earlier, key)
        tasks = make()
        if dry:
            request.state.audited = True  # nothing was done
            return _dry(batch, tasks[:SHOWN_ITEMS], maker.first_steps)
        request.state.options = batch.options
        anyio.from_thread.run(count, len(tasks))
        if (earlier := services.batches.add(batch, tasks, key)) and key:
            return _same(earlier, key)
        _tell(services)
        return batch.id

    made = await anyio.to_thread.run_sync(work, limiter=_at_work)
    if not isinstance(made, str):
        return JSONResponse(made)
    shown = await progress(services, made)
    return JSONResponse(shown.model_dump(mode="json"), 202, look_again(made))


def _same(earlier: IdempotencyKey, key: IdempotencyKey) -> str:
    """The batch that an earlier request has made.

    IdempotencyKeyReused if it was another request.
    """
    if earlier.digest != key.digest:
        raise IdempotencyKeyReused
    return earlier.task


def _tell(services: Services) -> None:
    try:
        services.publisher.batch()
    except QueueUnavailable:
        log.warning("no worker was told of a new batch: Redis is away")


def _dry(batch: Batch, tasks: list[Task], first_steps: list[dict[str, Any]]) -> dict[str, Any]:
    begins = itertools.chain(first_steps, itertools.repeat({}))
    return {
        "success": True,
        "dry_run": True,
        "action": f"{batch.operator}:{batch.action}",
        "size": batch.size,
        "items": [
            {"item": task.parameters, **shown_dry(task, first)}
            for task, first in zip(tasks, begins, strict=False)
        ],
        "time_limit": tasks[0].time_limit,
    }
