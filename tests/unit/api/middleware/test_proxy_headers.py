"""Only a trusted proxy says who the client is, and which id its request has."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from api.http.request_context import context_of
from api.middleware.proxy_headers import ProxyHeaders
from api.middleware.request_log import RequestLog

PROXY = "192.0.2.1"
HEADERS = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Request-Id": "mine"}


async def seen(peer: str, proxies: str, **headers: str) -> tuple[dict[str, Any], httpx.Response]:
    """Return what the service sees of a request from `peer`, and its response."""
    app = FastAPI()
    app.add_middleware(RequestLog)
    app.add_middleware(ProxyHeaders, trusted_proxies=proxies)

    @app.get("/{path:path}")
    def show(request: Request) -> dict[str, Any]:
        context = context_of(request.scope)
        return {
            "address": context.address,
            "scheme": request.url.scheme,
            "id": context.id,
            "client_id": context.client_request,
            "path": context.path,
        }

    transport = httpx.ASGITransport(app, client=(peer, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        answer = await client.get(f"/{'x' * 6000}", headers=HEADERS | headers)
    return answer.json(), answer


@pytest.mark.parametrize("proxies", [PROXY, f"198.51.100.1, {PROXY}", "192.0.2.0/24"])
async def test_a_trusted_proxy_is_believed(proxies: str) -> None:
    found, answer = await seen(PROXY, proxies)
    assert (found["address"], found["scheme"]) == ("203.0.113.9", "https")
    assert found["id"] == answer.headers["x-request-id"] == "mine"
    assert found["client_id"] == ""


@pytest.mark.parametrize("proxies", ["", "198.51.100.1", "192.0.3.0/24"])
async def test_nobody_else_is_believed(proxies: str) -> None:
    found, answer = await seen(PROXY, proxies)
    assert (found["address"], found["scheme"]) == (PROXY, "http")
    assert found["id"] == answer.headers["x-request-id"] != "mine"
    assert found["client_id"] == "mine"  # noted, but in a field of its own


@pytest.mark.parametrize("bad", ["x y", "x" * 65, "\x1b[2J", ""])
async def test_malformed_ids_are_dropped(bad: str) -> None:
    for proxies in ("", PROXY):
        found, _ = await seen(PROXY, proxies, **{"X-Request-Id": bad})
        assert found["id"] != bad and found["client_id"] == ""


async def test_long_paths_are_truncated() -> None:
    found, _ = await seen(PROXY, "")
    assert len(found["path"]) < 540 and found["path"].endswith("(6001 characters)")
