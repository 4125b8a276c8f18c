"""Show the OpenAPI document at /docs: a page of all sections, and one for each section."""

from __future__ import annotations

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from api.http.root_path import root_path_of
from api.pages.api_reference import ApiReference
from api.pages.rendering import page, page_frame
from resop.errors import UnknownAction


async def show_index(request: Request) -> Response:
    """Return the page of all sections."""
    address = str(request.base_url).rstrip("/") + root_path_of(request.scope)
    return await page(
        "reference_index.html",
        reference=await _reference(request),
        address=address,
        **page_frame(request, None),
    )


async def show_section(request: Request) -> Response:
    """Return the page of one section. Raises UnknownAction if there is none of that name."""
    name = request.path_params["section"]
    section = await run_in_threadpool((await _reference(request)).section, name)
    if section is None:
        raise UnknownAction(f"the API has no section {name!r}")
    return await page("reference.html", section=section, **page_frame(request, None))


async def _reference(request: Request) -> ApiReference:
    """Return the document for people; it is read at the first request."""
    state = request.app.state
    if getattr(state, "api_reference", None) is None:
        document = await run_in_threadpool(request.app.openapi)
        state.api_reference = ApiReference(document)
    found: ApiReference = state.api_reference
    return found
