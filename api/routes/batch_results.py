"""Export the results of a batch as newline-delimited JSON or CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.auth.dependencies import CurrentToken, ServicesDep
from api.http.row_stream import csv_response, ndjson_response
from api.routes.batch_models import (
    own_batch,
)
from api.routes.open_request import COUNTED_TRANSFER
from resop.storage.models import State, Task
from resop.storage.serializers import result_json

router = APIRouter(prefix="/batches", tags=["batches"])

States = Annotated[
    list[State],
    Query(description="Only tasks in this state; repeat the parameter for several. Default: all."),
]

RESULT_COLUMNS = ("state", "exit_code", "output", "stderr", "error", "seconds", "task")


@router.get(
    "/{batch_id}/results.ndjson",
    dependencies=[COUNTED_TRANSFER],
    response_class=StreamingResponse,
)
async def results_ndjson(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """Export the result of each item, in their order: one JSON object per line."""
    await own_batch(services, token, batch_id)
    return ndjson_response(
        _row(task) for task in services.storage.batches.whole_tasks(batch_id, state)
    )


@router.get(
    "/{batch_id}/results.csv",
    dependencies=[COUNTED_TRANSFER],
    response_class=StreamingResponse,
)
async def results_csv(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """Export the result of each item as CSV (RFC 4180), with a column for each parameter.

    A parameter with the same name as another column gets the prefix `item.`.
    """
    batch = await own_batch(services, token, batch_id)
    columns = {
        name: f"item.{name}" if name in _FIXED_COLUMNS else name for name in batch.parameters
    }
    tasks = services.storage.batches.whole_tasks(batch_id, state)
    rows = _rows(tasks, columns)
    return csv_response(("number", *columns.values(), *RESULT_COLUMNS), rows)


def _row(task: Task) -> dict[str, Any]:
    """Return the result of a batch's task."""
    return {
        "number": task.number,
        "item": task.parameters,
        "state": task.state,
        "exit_code": task.exit_code,
        "output": task.output,
        "stderr": task.stderr,
        "error": task.error,
        "seconds": result_json(task)["seconds"],
        "task": task.id,
    }


_FIXED_COLUMNS = {"number", *RESULT_COLUMNS}


def _rows(tasks: Iterator[Task], columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the results with the value of each parameter under the name of its column."""
    for task in tasks:
        row = _row(task)
        item = row.pop("item") or {}
        yield {columns[name]: value for name, value in item.items()} | row
