"""Serve the OpenAPI document, and pages that show it with the service's own copy of all scripts.

The scripts come from the package fastapi-offline: those of a content delivery network would run in
the origin that has the session cookie, and are out of reach at a centre without Internet.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import Mount

from api.auth.dependencies import ServicesDep, token_of
from api.http.request_context import context_of
from api.http.root_path import root_path_of

STATIC_PATH = "/docs/static"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)

document = APIRouter(include_in_schema=False)
pages = APIRouter(include_in_schema=False)


def install(app: FastAPI, *, public: bool) -> None:
    """Add the document to an application, and the pages if everybody may read it."""
    app.include_router(document)
    if public:
        folder = resources.files("fastapi_offline") / "static"
        app.router.routes.append(Mount(STATIC_PATH, StaticFiles(directory=str(folder))))
        app.include_router(pages)


@document.get("/openapi.json")
async def openapi(request: Request, services: ServicesDep) -> dict[str, Any]:
    """Return the OpenAPI document; only to a logged-in user unless API_DOCS=true."""
    if not services.settings.API_DOCS:
        await token_of(services, context_of(request.scope), request)
    app: FastAPI = request.app
    root_path = root_path_of(request.scope)
    return app.openapi() | ({"servers": [{"url": root_path}]} if root_path else {})


@pages.get("/docs")
async def swagger_ui(request: Request) -> HTMLResponse:
    """Show the document in Swagger UI."""
    static, common = _addresses(request)
    return _restricted(
        get_swagger_ui_html(
            swagger_js_url=f"{static}/swagger-ui-bundle.js",
            swagger_css_url=f"{static}/swagger-ui.css",
            swagger_favicon_url=f"{static}/favicon.png",
            **common,
        )
    )


@pages.get("/redoc")
async def redoc(request: Request) -> HTMLResponse:
    """Show the document in ReDoc."""
    static, common = _addresses(request)
    return _restricted(
        get_redoc_html(
            redoc_js_url=f"{static}/redoc.standalone.js",
            redoc_favicon_url=f"{static}/favicon.png",
            with_google_fonts=False,
            **common,
        )
    )


def _addresses(request: Request) -> tuple[str, dict[str, Any]]:
    """Return the address of the static files, and the arguments that both pages have."""
    root = root_path_of(request.scope)
    return f"{root}{STATIC_PATH}", {"openapi_url": f"{root}/openapi.json", "title": "resop API"}


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
