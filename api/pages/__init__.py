"""The pages: the service for a person with a plain browser, as forms and readable results.

A form is validated and run by the same functions as a JSON request. Everything but the routes is
loaded when the first page is requested.
"""

from __future__ import annotations

from functools import partial
from typing import get_args

from fastapi import APIRouter, Request, Response

from resop.types import KindCode

router = APIRouter()
reference = APIRouter()
"""The pages at /docs, which show the API to everybody."""


async def _view(name: str, request: Request) -> Response:
    from api.pages import views

    return await views.serve(name, request)


for _path, _name in {
    "": "index",
    "tasks": "tasks",
    "tasks/{task_id}": "task",
    "tasks/{task_id}/cancel": "task_cancel",
    "jobs": "jobs",
    "jobs/{job_id}": "job",
    "nodes": "nodes",
    "nodes/{node}": "node",
    "approvals": "approvals",
    "approvals/{approval_id}": "approval",
    "batches/{batch_id}": "batch",
    "batches/{batch_id}/cancel": "batch_cancel",
}.items():
    router.add_route(f"/pages/{_path}", partial(_view, _name), methods=["GET"])
for _path, _name in {
    "jobs": "jobs_change",
    "approvals/{approval_id}": "approval_decide",
    "batches/{batch_id}": "batch_results",
    "batches/{batch_id}/cancel": "batch_cancel_confirmed",
    "tasks/{task_id}/cancel": "task_cancel_confirmed",
}.items():
    router.add_route(f"/pages/{_path}", partial(_view, _name), methods=["POST"])
for _step in ("begin", "callback"):
    router.add_route(f"/pages/openid/{_step}", partial(_view, f"openid_{_step}"), methods=["GET"])
for _asset in ("style.css", "icon.svg"):
    router.add_route(f"/pages/{_asset}", partial(_view, "asset"), methods=["GET"])
router.add_route("/pages/{path:path}", partial(_view, "missing"), methods=["GET"])
for _kind in get_args(KindCode):
    for _path, _name in {"submit": _kind, "batch/submit": f"{_kind}_table"}.items():
        _path = f"/{{operator}}/{_kind}/{{action}}/{_path}"
        router.add_route(_path, partial(_view, f"{_name}_form"), methods=["GET"])
        router.add_route(_path, partial(_view, f"{_name}_submit"), methods=["POST"])
for _path, _name in {"": "reference_index", "/{section}": "reference"}.items():
    reference.add_route(f"/docs{_path}", partial(_view, _name), methods=["GET"])
