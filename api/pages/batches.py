"""The page of a batch, and the download of its results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.pages.browser_session import caller_of
from api.pages.form_data import read_own_form
from api.pages.rendering import page, page_frame
from api.state.open_requests import LongRequest
from api.state.services import services_of
from api.state.turns import end_turn
from api.tasks.batch_progress import batch_progress, own_batch
from api.tasks.batch_table import results_csv_response, revealed_tasks
from resop.actions.catalog import Catalog
from resop.actions.operation import Operation
from resop.errors import UnknownAction
from resop.storage.models import Batch
from resop.storage.serializers import task_summary
from resop.types import ActionKind

TASKS_PER_PAGE = 100
MAX_CURSOR_DIGITS = 9
COLUMNS = ("outcome", "password")
"""The parts of an output that have a column of their own, where an operation returns them."""


async def show_batch(request: Request) -> Response:
    """Return the page of a batch: its progress, and its tasks in the order of its items."""
    caller, services = await caller_of(request), services_of(request)
    batch_id, cursor = request.path_params["batch_id"], request.query_params.get("cursor", "")
    after = int(cursor) if cursor.isdecimal() and len(cursor) <= MAX_CURSOR_DIGITS else None
    await own_batch(services, caller.token, batch_id)
    batch = await run_in_threadpool(batch_progress, services, batch_id)
    found = await run_in_threadpool(
        services.storage.batches.tasks, batch_id, limit=TASKS_PER_PAGE + 1, after=after
    )
    shown = [task_summary(task) for task in found[:TASKS_PER_PAGE]]
    return await page(
        "batch.html",
        batch=batch,
        counts={name: count for name, count in batch["counts"].items() if count},
        tasks=shown,
        next=shown[-1]["number"] if len(found) > TASKS_PER_PAGE else None,
        **page_frame(request, caller.token),
    )


async def download_results(request: Request) -> Response:
    """Return the results of a batch as CSV, with the secrets that were not shown yet."""
    caller, services = await caller_of(request), services_of(request)
    await read_own_form(request)
    batch = await own_batch(services, caller.token, request.path_params["batch_id"])
    end_turn()
    with services.open_requests.hold(LongRequest.TRANSFER, caller.token):
        pass  # raises before the answer begins
    tasks = revealed_tasks(services, caller.token, batch.id, [])
    answer = results_csv_response(batch, tasks, _columns(services.catalog, batch))
    rows = answer.body_iterator

    async def held() -> AsyncIterator[Any]:
        with services.open_requests.hold(LongRequest.TRANSFER, caller.token):
            async for part in rows:
                yield part

    disposition = f'attachment; filename="{batch.action}-{batch.id}.csv"'
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return StreamingResponse(held(), headers=headers, media_type=answer.media_type)


def _columns(catalog: Catalog, batch: Batch) -> list[str]:
    """Return the parts of the output that an operation's results have."""
    try:
        action = catalog.action(batch.operator, ActionKind(batch.kind).code, batch.action)
    except UnknownAction:
        return []  # its operator was removed since
    known = action.returns().get("properties", {}) if isinstance(action, Operation) else {}
    return [name for name in COLUMNS if name in known]
