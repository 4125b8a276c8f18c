"""A service below a path, whether the proxy in front keeps that path or removes it."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp

from api.http.root_path import public_path, root_path_of
from api.middleware.proxy_headers import ProxyHeaders
from api.middleware.root_path import RootPath
from tests.unit.api.middleware.asgi import ask

PROXY = "192.0.2.1"


def application(root_path: str = "", proxies: str = PROXY) -> ASGIApp:
    app = FastAPI()
    app.add_middleware(RootPath, root_path=root_path, first_names={"tasks"})
    app.add_middleware(ProxyHeaders, trusted_proxies=proxies)

    @app.get("/moved")
    def moved(to: str) -> RedirectResponse:
        return RedirectResponse(to)

    @app.get("/{path:path}")
    def show(request: Request) -> PlainTextResponse:
        scope = request.scope
        assert scope["root_path"] == ""
        return PlainTextResponse(
            f"{root_path_of(scope)} {scope['raw_path'].decode()} {public_path(scope)}"
        )

    return app


async def seen(app: ASGIApp, path: str, *prefixes: str) -> str:
    headers: Sequence[tuple[str, str]] = [("x-forwarded-prefix", each) for each in prefixes]
    return (await ask(app, path, headers)).text


async def test_path_is_found_whether_the_proxy_keeps_the_root_path_or_removes_it() -> None:
    app = application("/hpc/resop")
    for path, inside in {
        "/": "/",
        "/hpc/resop": "/",
        "/hpc/resop/": "/",
        "/x": "/x",
        "/hpc/resop/x": "/x",
        "/hpc/%72esop/x%2Fy": "/x%2Fy",
        "/hpc/resop//etc/x": "//etc/x",
        "/hpc/resop/hpc/resop": "/hpc/resop",
        "/hpc/resopx": "/hpc/resopx",
        "/hpc%2Fresop/x": "/hpc%2Fresop/x",
        "/hpc": "/hpc",
    }.items():
        root_path, raw_path, _ = (await seen(app, path)).split(" ")
        assert (root_path, raw_path) == ("/hpc/resop", inside), path


async def test_trusted_proxies_name_the_path_unless_the_site_does() -> None:
    app = application()
    for prefixes, root_path in {
        ("/resop",): "/resop",
        ("/resop/",): "/resop",
        ("/outer, /inner",): "/outer/inner",
        ("/outer", "/inner"): "/outer/inner",
        ("/tasks",): "/tasks",
        (): "",
        ("/",): "",
        ("",): "",
    }.items():
        assert await seen(app, "/x", *prefixes) == f"{root_path} /x {root_path}/x"
    assert await seen(app, "/resop/x", "/resop") == "/resop /x /resop/x"
    assert await seen(app, "/tasks/x", "/tasks") == "/tasks /tasks/x /tasks/tasks/x"
    for forged in ("//evil.example", "resop", "https://evil.example", "/a b", "/..", "/x" * 200):
        assert await seen(app, "/x", forged) == " /x /x", forged
    assert await seen(application(proxies=""), "/x", "/resop") == " /x /x"
    assert await seen(application("/own"), "/x", "/resop") == "/own /x /own/x"


async def test_server_that_runs_the_application_may_name_it() -> None:
    transport = httpx.ASGITransport(application(), root_path="/served")
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        for path in ("/x", "/served/x"):
            assert (await client.get(path)).text == "/served /x /served/x"


async def test_locations_on_this_service_have_the_root_path() -> None:
    transport = httpx.ASGITransport(application("/resop"))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        for to, expected in {
            "/tasks/1": "/resop/tasks/1",
            "/": "/resop/",
            "https://issuer.example/x": "https://issuer.example/x",
            "//issuer.example/x": "//issuer.example/x",
        }.items():
            answer = await client.get("/resop/moved", params={"to": to})
            assert answer.headers["location"] == expected
