"""The readiness probe names the part that fails."""

from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from fastapi import FastAPI
from redis.exceptions import ReadOnlyError
from starlette.testclient import TestClient

from api.routes import service
from api.state.readiness import ReadinessProbe
from resop.clock import CLOCK
from resop.errors import RecordsUnavailable


def probe(*failing: str, lost: int = 0) -> tuple[int, Any]:
    def check() -> None:
        if "database" in failing:
            raise RecordsUnavailable("The database is read-only: try again later.")

    def refuse(**_: object) -> None:
        raise ReadOnlyError

    app = FastAPI()
    app.include_router(service.router)
    database: Any = SimpleNamespace(check=check)
    client: Any = fakeredis.FakeAsyncRedis()
    if "redis" in failing:
        client = SimpleNamespace(pipeline=refuse)
    subscription = SimpleNamespace(connected="subscription" not in failing)
    app.state.services = SimpleNamespace(
        readiness=ReadinessProbe(database, client, subscription), audit=SimpleNamespace(lost=lost)
    )
    response = TestClient(app).get("/health/ready")
    return response.status_code, response.json()


def test_ready_when_every_part_answers() -> None:
    assert probe() == (
        200,
        {"ready": True, "database": True, "redis": True, "subscription": True},
    )


def test_lost_audit_entries_are_told_and_the_process_still_serves() -> None:
    status, answer = probe(lost=3)
    assert (status, answer["audit_entries_lost"]) == (200, 3)


@pytest.mark.parametrize("part", ["database", "redis", "subscription"])
def test_not_ready_when_one_part_fails(part: str) -> None:
    status, answer = probe(part)
    assert status == 503
    assert answer.pop("ready") is False
    reasons = answer.pop("reasons")
    assert list(reasons) == [part]
    assert part != "redis" or reasons[part] == "Redis is a read-only replica"
    assert part != "database" or reasons[part] == "The database is read-only: try again later."
    assert [name for name, good in answer.items() if not good] == [part]


def test_clock_that_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for skew, told in ((90.04, 90.0), (-31.0, -31.0), (0.5, None)):
        monkeypatch.setattr(CLOCK, "skew", skew)
        status, answer = probe()
        assert (status, answer.get("clock_skew_seconds")) == (200, told)
