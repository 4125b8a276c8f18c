"""The fixture of the tests of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from resop_client import LoginStore
from resop_client.cli import main
from resop_client.login_store import Login
from tests.unit.client.cli.command_line import DOCUMENT, CommandLine, Ran
from tests.unit.client.fake_service import URL, answer


@pytest.fixture
def resop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    for name in ("RESOP_URL", "RESOP_TOKEN", "RESOP_PROFILE", "_RESOP_COMPLETE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RESOP_KEYRING", "no")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    LoginStore().save("default", Login(URL, "t", "ada", "hpc", "2099-01-01T00:00:00+00:00"))
    requests: list[httpx2.Request] = []
    answers: dict[str, Any] = {"/openapi.json": answer(DOCUMENT, etag='"1"')}

    def handle(request: httpx2.Request) -> httpx2.Response:
        request.read()
        requests.append(request)
        found = answers[request.url.path]
        found = found.pop(0) if isinstance(found, list) else found
        if isinstance(found, Exception):
            raise found
        response: httpx2.Response = found(request) if callable(found) else found
        return response

    original = httpx2.Client.__init__

    def with_fake_network(self: httpx2.Client, **options: Any) -> None:
        original(self, transport=httpx2.MockTransport(handle), **options)

    monkeypatch.setattr(httpx2.Client, "__init__", with_fake_network)

    def run(*words: str) -> Ran:
        code = main.run(words)
        return Ran(*capsys.readouterr(), code)

    return CommandLine(answers, requests, run)
