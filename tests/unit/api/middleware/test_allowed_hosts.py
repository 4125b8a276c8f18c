"""Only names of this service are accepted, if the site lists them."""

import httpx
import pytest
from fastapi import FastAPI

from api.middleware.allowed_hosts import AllowedHosts
from resop.config.settings import Settings
from tests.unit.api.middleware.asgi import ask


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI()
    settings = Settings(ALLOWED_HOSTS="resop.example.org, *.hpc.example , [::1]")
    made.add_middleware(AllowedHosts, names=settings.allowed_hosts)

    @made.get("/thing")
    @made.get("/health/live")
    def thing() -> str:
        return "seen"

    return made


@pytest.mark.parametrize(
    "host",
    [
        *("resop.example.org", "RESOP.example.org:3000", "resop.example.org.", "[::1]", "[::1]:80"),
        *("a.hpc.example", "a.b.hpc.example:443"),
    ],
)
async def test_own_names_are_accepted(app: FastAPI, host: str) -> None:
    assert (await ask(app, "/thing", [("host", host)])).status_code == 200


@pytest.mark.parametrize(
    "hosts",
    [
        *([], [""], ["evil.example"], ["resop.example.org.evil.example"], ["hpc.example"]),
        *(["evilhpc.example"], ["[::1"], ["[::2]"], ["resop.example.org@evil.example"]),
        ["resop.example.org", "evil.example"],
    ],
)
async def test_other_names_are_refused(app: FastAPI, hosts: list[str]) -> None:
    answer: httpx.Response = await ask(app, "/thing", [("host", each) for each in hosts])
    assert answer.status_code == 421
    assert answer.json()["error"]["type"] == "HostNotAllowed"
    assert "evil" not in answer.text


async def test_probes_of_a_load_balancer_are_answered(app: FastAPI) -> None:
    assert (await ask(app, "/health/live", [("host", "10.0.0.7:3000")])).status_code == 200
