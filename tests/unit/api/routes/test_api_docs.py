"""The pages that show the API load nothing from elsewhere, and the document is sent compressed."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import pages
from api.http import errors
from api.middleware.request_log import RequestLog
from api.routes import api_docs, service

STATIC = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")


def application(*, public: bool) -> FastAPI:
    app = FastAPI(title="resop", openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(RequestLog)
    app.state.services = SimpleNamespace(settings=SimpleNamespace(API_DOCS=public))
    errors.install(app)
    api_docs.install(app, public=public)
    if public:
        app.include_router(pages.reference)
    app.include_router(pages.router)
    app.include_router(service.router)
    made: Any = FastAPI.openapi(app)
    app.openapi = lambda: made | {"tags": [{"name": "service"}]}  # type: ignore[method-assign]
    return app


async def get(app: FastAPI, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://here"
    ) as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", ["/docs/swagger", "/docs", "/docs/service"])
async def test_page_loads_files_of_this_service_only(path: str) -> None:
    app = application(public=True)
    page = await get(app, path)
    addresses = re.findall(r"(?:src|href|url)\s*[=:]\s*[\"']([^\"'#]+)", page.text)
    assert len(addresses) >= 3
    assert all(address.startswith("/") for address in addresses), addresses
    for address in set(addresses) - {"/pages/", "/docs/api-keys"}:
        assert (await get(app, address)).status_code == 200, address


async def test_swagger_ui_may_run_its_own_scripts_only() -> None:
    page = await get(application(public=True), "/docs/swagger")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert policy.count("'sha256-") == page.text.count("<script>")
    assert "http" not in policy


async def test_pages_of_the_api_need_no_script() -> None:
    app = application(public=True)
    for path, words in {"/docs": "First steps", "/docs/service": "GET /limits"}.items():
        page = await get(app, path)
        assert words in page.text and "<script" not in page.text
        assert "script-src" not in page.headers["content-security-policy"]
    assert (await get(app, "/docs/nothing")).status_code == 404
    moved = await get(app, "/redoc")
    assert (moved.status_code, moved.headers["location"]) == (308, "/docs")


async def test_files_are_in_the_package_and_nothing_else_is_served() -> None:
    app = application(public=True)
    for name in STATIC:
        file = await get(app, f"{api_docs.STATIC_PATH}/{name}")
        assert (file.status_code, len(file.content) > 1000) == (200, True)
    for path in ("../core.py", "%2e%2e/core.py", "..%2fcore.py", "/etc/passwd"):
        assert (await get(app, f"{api_docs.STATIC_PATH}/{path}")).status_code == 404


async def test_pages_can_be_turned_off_and_the_document_then_needs_a_token() -> None:
    app = application(public=False)
    for path in ("/docs", "/docs/service", "/docs/swagger", f"{api_docs.STATIC_PATH}/favicon.png"):
        assert (await get(app, path)).status_code == 404
    refused = await get(app, "/openapi.json")
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "NotLoggedIn")


async def test_document_is_compressed_where_the_client_takes_that() -> None:
    app = application(public=True)
    for accepted, compressed in {
        "": False,
        "identity": False,
        "gzip;q=0, *": False,
        "br": False,
        "gzip": True,
        "br, GZIP;q=0.5": True,
        "*": True,
    }.items():
        answer = await get(app, "/openapi.json", **{"Accept-Encoding": accepted})
        assert answer.headers.get("content-encoding") == ("gzip" if compressed else None), accepted
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.json()["info"]["title"] == "resop"


async def test_document_is_not_sent_again() -> None:
    app = application(public=True)
    etag = (await get(app, "/openapi.json")).headers["etag"]
    for known in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        answer = await get(app, "/openapi.json", **{"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b""), known
        assert answer.headers["etag"] == etag
    changed = await get(app, "/openapi.json", **{"If-None-Match": '"other"'})
    assert changed.status_code == 200 and json.loads(changed.content)
