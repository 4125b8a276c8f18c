"""Launch batches: new ones, or retries of the failed tasks of an earlier one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from api.auth.dependencies import CurrentCaller, ServicesDep
from api.http.body import read_options
from api.http.openapi_schemas import reference
from api.http.openapi_shared import PREFERENCES, parameter_references
from api.http.preferences import read_preferences
from api.http.table_body import CSV_TYPES, JSON_LINES_TYPES, is_table, read_table
from api.routes.batch_models import BatchProgress, batch_headers, progress
from api.state.services import Services
from api.tasks.batch_progress import own_batch
from api.tasks.launch_batch import LaunchedBatch, launch_batch, retry_batch
from resop.actions.sweep import BatchBody
from resop.storage.models import State
from resop.types import KindCode

router = APIRouter(tags=["batches"])

EndState = Literal["failed", "timed_out", "cancelled", "lost", "succeeded"]
RETRIED_STATES: list[EndState] = ["failed", "timed_out", "cancelled"]
"""The default; it excludes `lost`, because a lost task may have run."""
_PARAMETERS = parameter_references(tuple(each for each in PREFERENCES if each != "Prefer"))
_BODIES: dict[str, Any] = {
    "application/json": {"schema": reference("BatchBody")},
    CSV_TYPES[0]: {"schema": {"type": "string", "description": "a header with option names"}},
    JSON_LINES_TYPES[0]: {"schema": {"type": "string", "description": "an item on each line"}},
}
_DRY_RUN: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer to a dry run: nothing was launched."}
}


@router.post(
    "/{operator}/{kind}/{action}/batch",
    status_code=202,
    response_model=BatchProgress,
    response_description="The batch was accepted; its tasks are queued.",
    responses=_DRY_RUN,
    openapi_extra={
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": _BODIES},
    },
)
async def launch(
    operator: str,
    kind: KindCode,
    action: str,
    services: ServicesDep,
    caller: CurrentCaller,
    request: Request,
    at_once: Annotated[
        int | None,
        Query(ge=1, description="For a table: maximum number of tasks that run at the same time."),
    ] = None,
    keep_going: Annotated[
        bool,
        Query(description="For a table: make a failed task of each invalid row, run the others."),
    ] = False,
) -> Response:
    """Run an action with many sets of options: one task for each item.

    The items are the combinations of a sweep's values, or a list, or the rows of a table: CSV with
    option names as its header, or newline-delimited JSON. All items are validated before any task
    is stored; one invalid item refuses the whole batch, unless `keep_going` is set. The tasks of a
    batch run a few at a time, in turn with those of other batches and users, and appear in the
    caller's task list like any other task. The answer is `202` with the batch; its `Location` shows
    the progress.
    """
    found = services.catalog.action(operator, kind, action)
    caller.context.action = found.title
    preferences = read_preferences(request, 0, services.webhook_hosts)
    table = None
    if is_table(request):
        table = await read_table(request, found.options, services.settings.BATCH_SIZE)
        body = {"items": table.items, "at_once": at_once, "keep_going": keep_going}
    else:
        body = await read_options(request, BatchBody)
    launched = await launch_batch(services, caller, found, body, preferences, table)
    return await _response(services, launched)


@router.post(
    "/batches/{batch_id}/retry",
    status_code=202,
    response_model=BatchProgress,
    response_description="The batch was accepted; its tasks are queued.",
    responses=_DRY_RUN,
    openapi_extra={"parameters": _PARAMETERS},
)
async def retry(
    batch_id: str,
    services: ServicesDep,
    caller: CurrentCaller,
    request: Request,
    state: Annotated[
        list[EndState],
        Query(
            description="Repeat the tasks in this state; repeat the parameter for several states. "
            "`lost` tasks may have run, so they are repeated only on request."
        ),
    ] = RETRIED_STATES,
) -> Response:
    """Launch a new batch of the items whose tasks failed, timed out or were cancelled.

    This is refused if options were secret: those are not stored, so the items have to be sent as
    a new batch.
    """
    old = await own_batch(services, caller.token, batch_id)
    preferences = read_preferences(request, 0, services.webhook_hosts)
    states = [State(each) for each in state]
    return await _response(services, await retry_batch(services, caller, old, states, preferences))


async def _response(services: Services, launched: LaunchedBatch) -> Response:
    if launched.dry_run is not None:
        return JSONResponse(launched.dry_run)
    batch = await progress(services, launched.batch_id)
    return JSONResponse(batch.model_dump(mode="json"), 202, batch_headers(launched.batch_id))
