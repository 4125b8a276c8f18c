"""The page of one job: what becomes of it and why, its resources, script, output and parts."""

from __future__ import annotations

import asyncio

from fastapi import Request, Response

from api.pages.browser_session import caller_of
from api.pages.cluster_answers import ask
from api.pages.job_list import CHANGES
from api.pages.rendering import page, page_frame
from api.pages.values import has_ended
from api.state.services import services_of

OUTPUT_LINES = 100
PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
PARTS_SHOWN = 2000


async def show_job(request: Request) -> Response:
    """Return the page of a job, an array, an array task or a component."""
    caller, services = await caller_of(request), services_of(request)
    id = request.path_params["job_id"]
    wanted = {"steps": True, "batch_script": True, "efficiency": True, "attempts": True}
    described, explained = await asyncio.gather(
        ask(services, caller, "job", {"id": id, **wanted}),
        ask(services, caller, "why", {"id": id, "lines": OUTPUT_LINES}),
    )
    job = described.output
    parts = job["parts"] if job else []
    return await page(
        "job.html",
        described.status,
        id=id,
        answer=described,
        job=job,
        why=explained.output,
        running=job is not None and not has_ended(job["state"]),
        changes={name: CHANGES[name] for name in _possible(job["state"])} if job else {},
        parts=parts[:PARTS_SHOWN],
        more_parts=max(0, len(parts) - PARTS_SHOWN),
        **page_frame(request, caller.token),
    )


def _possible(state: str) -> list[str]:
    """Return the names of the changes that make sense in a state."""
    if state in PENDING:
        return ["cancel", "hold", "release"]
    return [] if has_ended(state) else ["cancel", "requeue"]
