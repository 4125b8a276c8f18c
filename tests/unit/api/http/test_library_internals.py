"""The undocumented parts of starlette and FastAPI that the API relies on.

A failure here after an upgrade means: look into api/http/starlette_internals.py or
fastapi_internals.py.
"""

from typing import Any

import pytest
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.datastructures import Headers, UploadFile
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.fastapi_internals import (
    DEFAULT_DESCRIPTION,
    VALIDATION_SCHEMAS,
    request_faults,
    without_validation_schemas,
)
from api.http.starlette_internals import is_routed, parse_multipart
from resop.errors import InvalidOptions


def app_with_a_limit() -> FastAPI:
    app = FastAPI()

    @app.get("/things")
    def things(limit: int = Query(ge=1)) -> dict[str, int]:
        return {"limit": limit}

    return app


def test_fastapi_places_its_own_error_schemas_under_known_names() -> None:
    app = app_with_a_limit()
    document = get_openapi(title="x", version="1", routes=app.routes)
    assert set(VALIDATION_SCHEMAS) == set(document["components"]["schemas"])
    responses = document["paths"]["/things"]["get"]["responses"]
    assert responses["200"]["description"] == DEFAULT_DESCRIPTION
    without_validation_schemas(document)
    assert document["components"]["schemas"] == {}


def test_fastapi_names_the_place_of_a_wrong_parameter_first() -> None:
    app = app_with_a_limit()
    caught: list[RequestValidationError] = []

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        caught.append(error)
        return JSONResponse({}, 422)

    assert TestClient(app).get("/things?limit=0").status_code == 422
    assert caught[0].errors()[0]["loc"] == ("query", "limit")
    assert [fault["field"] for fault in request_faults(caught[0])] == ["limit"]


def test_starlette_notes_the_endpoint_in_the_scope() -> None:
    seen: list[tuple[int, bool]] = []

    class Watcher:
        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def watch(message: Any) -> None:
                if message["type"] == "http.response.start":
                    seen.append((message["status"], is_routed(scope)))
                await send(message)

            await self._app(scope, receive, watch)

    app = app_with_a_limit()
    app.add_middleware(Watcher)
    client = TestClient(app)
    client.get("/things?limit=1")
    client.get("/nothing")
    assert seen == [(200, True), (404, False)]


async def test_starlette_parses_a_multipart_form() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n'
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\ncontent\r\n'
        b"--x--\r\n"
    )
    headers = Headers({"content-type": "multipart/form-data; boundary=x"})
    form = await parse_multipart(headers, body, 1 << 20)
    assert form["a"] == "text"
    file = form["f"]
    assert isinstance(file, UploadFile)
    assert (file.filename, await file.read()) == ("f.txt", b"content")
    await form.close()


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        (b"--x\r\nno header at all\r\n\r\n", 1 << 20),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\ntoo long\r\n--x--\r\n', 3),
    ],
)
async def test_a_broken_multipart_form_is_refused(body: bytes, limit: int) -> None:
    headers = Headers({"content-type": "multipart/form-data; boundary=x"})
    with pytest.raises(InvalidOptions):
        await parse_multipart(headers, body, limit)
