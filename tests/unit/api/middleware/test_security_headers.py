"""Every answer tells browsers what they may do with it, also that to a fault of ours."""

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from api.http import errors
from api.middleware.request_log import RequestLog
from api.middleware.security_headers import DEFAULT_POLICY, SecurityHeaders

SECRET = "what nobody is to see"


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI()
    made.add_middleware(RequestLog)
    made.add_middleware(SecurityHeaders)
    errors.install(made)

    @made.get("/fault")
    def fault() -> None:
        raise RuntimeError(SECRET)

    @made.get("/own")
    def own() -> HTMLResponse:
        return HTMLResponse("", headers={"Content-Security-Policy": "sandbox"})

    return made


async def answer(app: FastAPI, path: str, address: str = "http://here") -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=address) as client:
        return await client.get(path)


async def test_fault_of_ours_tells_nothing_but_where_to_look(app: FastAPI) -> None:
    told = await answer(app, "/fault")
    error = told.json()["error"]
    assert (told.status_code, error["type"]) == (500, "ServiceFault")
    assert told.headers["x-request-id"] in error["message"]
    assert SECRET not in told.text and "RuntimeError" not in told.text
    assert told.headers["content-security-policy"] == DEFAULT_POLICY


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/none", DEFAULT_POLICY),
        ("/openapi.json", DEFAULT_POLICY),
        ("/docs", DEFAULT_POLICY),
        ("/own", "sandbox"),
    ],
)
async def test_nobody_frames_or_guesses_or_keeps_an_answer(
    app: FastAPI, path: str, policy: str
) -> None:
    headers = (await answer(app, path)).headers
    assert headers["content-security-policy"] == policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


async def test_https_is_kept_to_once_it_was_spoken(app: FastAPI) -> None:
    spoken = await answer(app, "/own", "https://here")
    assert spoken.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in (await answer(app, "/own")).headers
