"""The results of a batch as rows, and as a CSV with a column for each parameter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi.responses import StreamingResponse

from api.http.row_stream import csv_response
from api.state.services import Services
from api.tasks.secret_answers import reveal_all
from resop.security.tokens import Token
from resop.storage.models import Batch, State, Task
from resop.storage.serializers import result_json
from resop.storage.task_search import WHOLE_TASKS_PAGE

RESULT_COLUMNS = ("state", "exit_code", "output", "stderr", "error", "seconds", "task")


def revealed_tasks(
    services: Services, token: Token, batch_id: str, states: Sequence[State]
) -> Iterator[Task]:
    """Yield the tasks of a batch with their secrets, read in pages."""
    tasks = services.storage.batches.whole_tasks(batch_id, states)
    while page := list(itertools.islice(tasks, WHOLE_TASKS_PAGE)):
        yield from reveal_all(services, token, page)


def results_csv_response(
    batch: Batch, tasks: Iterator[Task], parts: Sequence[str]
) -> StreamingResponse:
    """Return the results of tasks as CSV, with these parts of their output as columns."""
    taken = {"number", *RESULT_COLUMNS, *parts}
    columns = {name: f"item.{name}" if name in taken else name for name in batch.parameters}
    names = ("number", *columns.values(), *dict.fromkeys(parts), *RESULT_COLUMNS)
    return csv_response([*dict.fromkeys(names)], _rows(tasks, columns, parts))


def result_row(task: Task) -> dict[str, Any]:
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
        row = result_row(task)
        item = row.pop("item") or {}
        further = {name: _part(task.output, name) for name in parts}
        yield {columns[name]: value for name, value in item.items()} | further | row


def _part(output: Any, name: str) -> Any:
    """Return a part of an output, such as `user.uid_number`; None if it has none."""
    for key in name.split("."):
        output = output.get(key) if isinstance(output, dict) else None
    return output
