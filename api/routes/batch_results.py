"""Export the results of a batch as a table: JSON, newline-delimited JSON or CSV."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints

from api.auth.dependencies import CurrentToken, ServicesDep, WritingToken
from api.http.row_stream import json_list_response, ndjson_response
from api.routes.open_request import COUNTED_TRANSFER
from api.tasks.batch_progress import own_batch
from api.tasks.batch_table import result_row, results_csv_response, revealed_tasks
from resop.storage.models import State

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


@router.get("/{batch_id}/results.ndjson", **_STREAMED)
async def results_ndjson(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """Export the result of each item, in their order: one JSON object per line."""
    await own_batch(services, token, batch_id)
    return ndjson_response(map(result_row, services.storage.batches.whole_tasks(batch_id, state)))


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
    return ndjson_response(map(result_row, revealed_tasks(services, token, batch_id, state)))


@router.get("/{batch_id}/results.json", **_STREAMED)
async def results_json(
    batch_id: str,
    services: ServicesDep,
    token: CurrentToken,
    state: States = [],  # noqa: B006
) -> StreamingResponse:
    """Export the result of each item, in their order: one JSON list."""
    await own_batch(services, token, batch_id)
    return json_list_response(
        map(result_row, services.storage.batches.whole_tasks(batch_id, state))
    )


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
    return results_csv_response(
        batch, services.storage.batches.whole_tasks(batch_id, state), column
    )


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
    return results_csv_response(batch, revealed_tasks(services, token, batch_id, state), column)
