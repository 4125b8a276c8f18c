"""The pages that show the API load nothing from elsewhere."""

from __future__ import annotations

import re
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from api.http import errors
from api.middleware.request_log import RequestLog
from api.routes import api_docs

PAGES = ("/docs", "/redoc")
STATIC = ("swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png")


def application(*, public: bool) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(RequestLog)
    app.state.services = SimpleNamespace(settings=SimpleNamespace(API_DOCS=public))
    errors.install(app)
    api_docs.install(app, public=public)
    return app


async def get(app: FastAPI, path: str) -> httpx.Response:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://here"
    ) as client:
        return await client.get(path)


@pytest.mark.parametrize("path", PAGES)
async def test_page_loads_files_of_this_service_only(path: str) -> None:
    page = await get(application(public=True), path)
    addresses = re.findall(r"(?:src|href|url|spec-url)\s*[=:]\s*[\"']([^\"']+)", page.text)
    assert len(addresses) >= 3
    assert all(address.startswith("/") for address in addresses), addresses
    for address in addresses:
        assert (await get(application(public=True), address)).status_code == 200


@pytest.mark.parametrize("path", PAGES)
async def test_page_may_run_its_own_scripts_only(path: str) -> None:
    page = await get(application(public=True), path)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert policy.count("'sha256-") == page.text.count("<script>")
    assert "http" not in policy


@pytest.mark.parametrize("name", STATIC)
async def test_files_are_in_the_package(name: str) -> None:
    file = await get(application(public=True), f"{api_docs.STATIC_PATH}/{name}")
    assert (file.status_code, len(file.content) > 1000) == (200, True)


@pytest.mark.parametrize("path", ["../core.py", "%2e%2e/core.py", "..%2fcore.py", "/etc/passwd"])
async def test_nothing_else_is_served(path: str) -> None:
    file = await get(application(public=True), f"{api_docs.STATIC_PATH}/{path}")
    assert file.status_code == 404


async def test_pages_can_be_turned_off_and_the_document_then_needs_a_token() -> None:
    app = application(public=False)
    for path in (*PAGES, f"{api_docs.STATIC_PATH}/favicon.png"):
        assert (await get(app, path)).status_code == 404
    refused = await get(app, "/openapi.json")
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "NotLoggedIn")
