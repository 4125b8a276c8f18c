"""Export the results of a batch as a table: JSON, newline-delimited JSON or CSV."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints

from api.auth.dependencies import CurrentToken, ServicesDep, WritingToken
from api.http.row_stream import csv_response, json_list_response, ndjson_response
from api.routes.batch_models import own_batch
from api.routes.open_request import COUNTED_TRANSFER
from api.state.services import Services
from api.tasks.secret_answers import reveal_all
from resop.security.tokens import Token
from resop.storage.models import Batch, State, Task
from resop.storage.serializers import result_json
from resop.storage.task_search import WHOLE_TASKS_PAGE

router = APIRouter(prefix="/batches", tags=["batches"])

MAX_COLUMNS = 50
_STREAMED: dict[str, Any] = {
    "dependencies": [COUNTED_TRANSFER],
    "response_class": StreamingResponse,
}

ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]

States = Annotated[
    list[State],
    Query(description="Only tasks in this state; repeat the parameter for several. Default: all."),
]

Columns = Annotated[
    list[ColumnName],
    Query(
        alias="column",
        max_length=MAX_COLUMNS,
        description="A further column with a part of the output, such as `outcome` or "
        "`user.uid_number`; repeat the parameter for several.",
    ),
]

RESULT_COLUMNS = ("state", "exit_code", "output", "stderr", "error", "seconds", "task")


@router.get("/{batch_id}/results.ndjson", **_STREAMED)
async def results_ndjson(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """Export the result of each item, in their order: one JSON object per line."""
    await own_batch(services, token, batch_id)
    return ndjson_response(map(_row, services.storage.batches.whole_tasks(batch_id, state)))


@router.post("/{batch_id}/results.ndjson", **_STREAMED)
async def secret_results_ndjson(
    batch_id: str,
    services: ServicesDep,
    token: WritingToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """Export the results with their secrets, such as generated passwords.

    Each secret is shown once, and only to the login that launched the batch.
    """
    await own_batch(services, token, batch_id)
    return ndjson_response(map(_row, _revealed_tasks(services, token, batch_id, state)))


@router.get("/{batch_id}/results.json", **_STREAMED)
async def results_json(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """Export the result of each item, in their order: one JSON list."""
    await own_batch(services, token, batch_id)
    return json_list_response(map(_row, services.storage.batches.whole_tasks(batch_id, state)))


@router.get("/{batch_id}/results.csv", **_STREAMED)
async def results_csv(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
    column: Columns = [],  # noqa: B006
) -> StreamingResponse:
    """Export the result of each item as CSV (RFC 4180), with a column for each parameter.

    A parameter with the same name as another column gets the prefix `item.`.
    """
    batch = await own_batch(services, token, batch_id)
    return _csv(batch, services.storage.batches.whole_tasks(batch_id, state), column)


@router.post("/{batch_id}/results.csv", **_STREAMED)
async def secret_results_csv(
    batch_id: str,
    services: ServicesDep,
    token: WritingToken,
    state: States = [],  # noqa: B006
    column: Columns = [],  # noqa: B006
) -> StreamingResponse:
    """Export the results as CSV with their secrets, such as generated passwords.

    Each secret is shown once, and only to the login that launched the batch.
    """
    batch = await own_batch(services, token, batch_id)
    return _csv(batch, _revealed_tasks(services, token, batch_id, state), column)


def _revealed_tasks(
    services: Services, token: Token, batch_id: str, states: Sequence[State]
) -> Iterator[Task]:
    """Yield the tasks of a batch with their secrets, read in pages."""
    tasks = services.storage.batches.whole_tasks(batch_id, states)
    while page := list(itertools.islice(tasks, WHOLE_TASKS_PAGE)):
        yield from reveal_all(services, token, page)


def _csv(batch: Batch, tasks: Iterator[Task], parts: Sequence[str]) -> StreamingResponse:
    """Return the results of tasks as CSV, with these parts of their output as columns."""
    taken = {"number", *RESULT_COLUMNS, *parts}
    columns = {name: f"item.{name}" if name in taken else name for name in batch.parameters}
    names = ("number", *columns.values(), *dict.fromkeys(parts), *RESULT_COLUMNS)
    return csv_response([*dict.fromkeys(names)], _rows(tasks, columns, parts))


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


def _rows(
    tasks: Iterator[Task], columns: Mapping[str, str], parts: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the results with the value of each parameter under the name of its column."""
    for task in tasks:
        row = _row(task)
        item = row.pop("item") or {}
        further = {name: _part(task.output, name) for name in parts}
        yield {columns[name]: value for name, value in item.items()} | further | row


def _part(output: Any, name: str) -> Any:
    """Return a part of an output, such as `user.uid_number`; None if it has none."""
    for key in name.split("."):
        output = output.get(key) if isinstance(output, dict) else None
    return output
