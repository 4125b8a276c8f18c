"""The readiness probe names the part that fails."""

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from redis.exceptions import ConnectionError as RedisConnectionError
from starlette.testclient import TestClient

from api.routes import service
from resop.errors import RecordsUnavailable


def probe(*failing: str) -> tuple[int, Any]:
    def check() -> None:
        if "database" in failing:
            raise RecordsUnavailable

    async def ping() -> bool:
        if "redis" in failing:
            raise RedisConnectionError
        return True

    app = FastAPI()
    app.include_router(service.router)
    app.state.services = SimpleNamespace(
        storage=SimpleNamespace(database=SimpleNamespace(check=check)),
        messaging=SimpleNamespace(
            redis=SimpleNamespace(ping=ping),
            subscriber=SimpleNamespace(connected="subscription" not in failing),
        ),
    )
    response = TestClient(app).get("/health/ready")
    return response.status_code, response.json()


def test_ready_when_every_part_answers() -> None:
    assert probe() == (
        200,
        {"ready": True, "database": True, "redis": True, "subscription": True},
    )


@pytest.mark.parametrize("part", ["database", "redis", "subscription"])
def test_not_ready_when_one_part_fails(part: str) -> None:
    status, answer = probe(part)
    assert status == 503
    assert answer.pop("ready") is False
    assert [name for name, good in answer.items() if not good] == [part]
