"""A wrong parameter is refused in plain words: no regular expression, nothing of pydantic's."""

from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Header, Query
from starlette.testclient import TestClient

from api.http import errors
from api.middleware.request_log import RequestLog
from api.routes.batch_launch import EndState
from api.routes.file_upload import Upload, WriteOptions
from api.routes.folders import ArchiveOptions
from api.routes.open_request import Wait
from api.routes.task_list import FilterQuery


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Build an application with the parameters of the routes."""
    app = FastAPI()
    app.add_middleware(RequestLog)
    errors.install(app)

    @app.get("/tasks")
    def tasks(task_filter: FilterQuery, wait: Wait = 0, limit: int = Query(5, ge=1, le=500)) -> Any:
        return {}

    @app.get("/retry")
    def retry(state: Annotated[list[EndState], Query()]) -> Any:
        return {}

    @app.get("/files")
    def files(options: Annotated[WriteOptions, Query()]) -> Any:
        return {}

    @app.get("/uploads")
    def uploads(
        upload: Upload = None, last_event_id: str | None = Header(None, max_length=3)
    ) -> Any:
        return {}

    @app.get("/folders")
    def folders(options: Annotated[ArchiveOptions, Query()]) -> Any:
        return {}

    return TestClient(app)


@pytest.mark.parametrize(
    ("address", "field", "message"),
    [
        ("/tasks?limit=501", "limit", "must be at most 500"),
        ("/tasks?limit=many", "limit", "must be a whole number"),
        ("/tasks?wait=601", "wait", "must be at most 600"),
        ("/tasks?since=2026-11-29", "since", "needs a time zone, such as 2026-11-29T12:00:00Z"),
        ("/tasks?text=", "text", "must have at least 1 character"),
        ("/tasks?tag=" + "x" * 65, "tag.0", "must have at most 64 characters"),
        ("/tasks?state=done", "state", "must be 'pending_approval', 'queued', "),
        (
            "/retry?state=running",
            "state.0",
            "must be 'failed', 'timed_out', 'cancelled', 'lost' or 'succeeded'",
        ),
        ("/retry", "state", "is required"),
        ("/files?mode=99", "mode", "octal"),
        ("/files?checksum=md5", "checksum", "must be 'sha256' or 'sha512'"),
        ("/files?overwrite=perhaps", "overwrite", "must be true or false"),
        ("/files?upload=a/b", "upload", "must be 1 to 128 letters, digits, "),
        ("/files?colour=red", "colour", "is not a known name"),
        ("/uploads?upload=%20", "upload", "must be 1 to 128 letters, digits, "),
        ("/folders?format=rar", "format", "must be 'tar' or 'zip'"),
        ("/folders?include=", "include.0", "must have at least 1 character"),
    ],
)
def test_a_wrong_parameter_is_named_in_plain_words(
    client: TestClient, address: str, field: str, message: str
) -> None:
    response = client.get(address)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["type"] == "InvalidOptions"
    [fault] = error["faults"]
    assert fault["field"] == field and message in fault["message"]
    for word in ("Input", "should", "pattern", "^", "valid string"):
        assert word not in fault["message"]


def test_a_wrong_header_is_named(client: TestClient) -> None:
    response = client.get("/uploads", headers={"Last-Event-ID": "too long"})
    [fault] = response.json()["error"]["faults"]
    assert fault == {"field": "last-event-id", "message": "must have at most 3 characters"}
