"""Serve the OpenAPI document, and Swagger UI, which shows it, with the service's own scripts.

The scripts come from the package fastapi-offline: those of a content delivery network would run in
the origin that has the session cookie, and are out of reach at a centre without Internet. The pages
at /docs show the document without any script; api/pages has them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount

from api.auth.dependencies import ServicesDep, token_of
from api.http.cached_document import CachedDocument
from api.http.request_context import context_of
from api.http.root_path import root_path_of

STATIC_PATH = "/docs/static"
SWAGGER_PATH = "/docs/swagger"
SWAGGER_OPTIONS = {
    # With hundreds of operations, a browser takes long to show them all at once.
    "docExpansion": "none",
    "defaultModelsExpandDepth": -1,
    "defaultModelExpandDepth": 2,
    "displayOperationId": True,
    "filter": True,
}
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)

document = APIRouter(include_in_schema=False)
pages = APIRouter(include_in_schema=False)


def install(app: FastAPI, *, public: bool) -> None:
    """Add the document to an application, and Swagger UI if everybody may read it."""
    app.include_router(document)
    app.state.openapi_documents = {}
    if public:
        folder = resources.files("fastapi_offline") / "static"
        app.router.routes.append(Mount(STATIC_PATH, StaticFiles(directory=str(folder))))
        app.include_router(pages)


@document.get("/openapi.json")
async def openapi(request: Request, services: ServicesDep) -> Response:
    """Return the OpenAPI document; only to a logged-in user unless API_DOCS=true."""
    if not services.settings.API_DOCS:
        await token_of(services, context_of(request.scope), request)
    root_path = root_path_of(request.scope)
    documents: dict[str, CachedDocument] = request.app.state.openapi_documents
    if root_path not in documents:
        # In a thread: to make it takes a moment.
        documents[root_path] = await run_in_threadpool(_cached, request.app, root_path)
    return documents[root_path].response(request.headers)


@pages.get(SWAGGER_PATH)
async def swagger_ui(request: Request) -> HTMLResponse:
    """Show the document in Swagger UI, where a request can be tried."""
    root = root_path_of(request.scope)
    static = f"{root}{STATIC_PATH}"
    return _restricted(
        get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title="resop API",
            swagger_js_url=f"{static}/swagger-ui-bundle.js",
            swagger_css_url=f"{static}/swagger-ui.css",
            swagger_favicon_url=f"{static}/favicon.png",
            swagger_ui_parameters=SWAGGER_OPTIONS,
        )
    )


@pages.get("/redoc")
async def redoc(request: Request) -> RedirectResponse:
    """Lead to the pages at /docs, which took the place of ReDoc."""
    return RedirectResponse(f"{root_path_of(request.scope)}/docs", 308)


def _cached(app: FastAPI, root_path: str) -> CachedDocument:
    found: dict[str, Any] = app.openapi() | ({"servers": [{"url": root_path}]} if root_path else {})
    content = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return CachedDocument(content.encode(), "application/json")


def _restricted(page: HTMLResponse) -> HTMLResponse:
    """Allow a page its own scripts and requests to this service, and nothing else."""
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in _INLINE_SCRIPT.findall(bytes(page.body).decode())
    )
    page.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; worker-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page
