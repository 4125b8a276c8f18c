"""The page of the jobs: in the queue or ended, with what can be done to several of them."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from api.pages.browser_session import caller_of
from api.pages.cluster_answers import ask
from api.pages.form_data import read_own_form
from api.pages.rendering import page, page_frame
from api.state.services import services_of
from resop.errors import InvalidOptions

JOBS_PER_PAGE = 100
WHEN = {
    "": "in the queue",
    "now-1days": "of the last day",
    "now-7days": "of the last week",
    "now-30days": "of the last 30 days",
}
"""Which jobs: those of the queue, or those of the accounting database since a time."""
STATES = ("RUNNING", "PENDING", "SUSPENDED", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")


class Change(NamedTuple):
    """A change that a person can make to jobs."""

    label: str
    consequences: str
    destroys: bool = False


CHANGES = {
    "cancel": Change(
        "Cancel",
        "Running jobs are ended, and pending jobs never start. What they have written stays. A "
        "cancelled job cannot be resumed, only submitted again.",
        destroys=True,
    ),
    "hold": Change("Hold", "Pending jobs do not start until they are released. Running jobs run."),
    "release": Change("Release", "Jobs that are held may start again."),
    "requeue": Change(
        "Requeue",
        "Running jobs are stopped, and start again from the beginning of their scripts. They may "
        "overwrite what they have written.",
        destroys=True,
    ),
}


async def show_jobs(request: Request) -> Response:
    """Return the page of the jobs that match the filter of the query."""
    caller, services = await caller_of(request), services_of(request)
    query = request.query_params
    everybody, when = query.get("whose") == "everybody", query.get("when", "")
    state, cursor = query.get("state", ""), query.get("offset", "")
    offset = int(cursor) if cursor.isdecimal() and len(cursor) < 9 else 0
    options: dict[str, Any] = {"limit": JOBS_PER_PAGE, "offset": offset}
    if state in STATES:
        options["states"] = [state]
    if when in WHEN and when:
        options |= {"start": when, "all_users": everybody}
        answer = await ask(services, caller, "history", options)
    else:
        options |= {} if everybody else {"users": [caller.token.username]}
        answer = await ask(services, caller, "jobs", options)
    found = answer.output or {}
    jobs = found.get("items", found.get("jobs", []))
    return await page(
        "jobs.html",
        answer.status,
        answer=answer,
        jobs=jobs,
        counts=Counter(job["state"] for job in jobs),
        total=found.get("total"),
        next=found.get("next"),
        offset=offset,
        everybody=everybody,
        when=when if when in WHEN else "",
        whens=WHEN,
        state=state if state in STATES else "",
        states=STATES,
        changes=CHANGES,
        **page_frame(request, caller.token),
    )


async def change_jobs(request: Request) -> Response:
    """Ask whether the chosen jobs are to be changed; change them once that is confirmed."""
    caller, services = await caller_of(request), services_of(request)
    sent = await read_own_form(request)
    name, jobs = sent.get("do", ""), sent.getlist("job")
    if name not in CHANGES:
        raise InvalidOptions.of("do", f"must be one of {', '.join(CHANGES)}")
    if not jobs:
        raise InvalidOptions.of("job", "choose at least one job")
    if not sent.get("confirmed"):
        return await page(
            "change_jobs.html",
            name=name,
            change=CHANGES[name],
            jobs=jobs,
            **page_frame(request, caller.token),
        )
    answer = await ask(services, caller, name, {"jobs": jobs})
    if answer.output is None:  # still running, or refused for some of them: its page says which
        return RedirectResponse(f"/pages/tasks/{answer.task.id}", 303)
    return RedirectResponse(f"/pages/jobs/{jobs[0]}" if len(jobs) == 1 else "/pages/jobs", 303)
