"""Other services at given addresses, measured in the same rounds: `--targets FILE`.

The file is a JSON list of `{name, url, method?, headers?, json?, form?, expect?, status?}`: one
remote command by one request. `@/path` in a header's value is replaced by that file's text (a
token); `expect` is in the body of a good answer, `status` lists its codes (200 to 299).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from bench.load import Client, Measured, closed_loop, request, requests


@dataclass(frozen=True, slots=True)
class Target:
    """A request that another service answers with one remote command; over plain HTTP."""

    name: str
    host: str
    port: int
    request: bytes
    expected: bytes
    statuses: tuple[int, ...]

    def client(self) -> Client:
        """One who calls it."""
        return Client(
            self.port, self.request, self.expected, host=self.host, statuses=self.statuses
        )

    async def measure(self, callers: int, calls: int) -> Measured:
        """As `bench.load.requests`."""
        return await requests([self.client() for _ in range(callers)], calls)

    async def measure_tens(self, calls: int) -> Measured:
        """Ten requests one after the other count as one call."""
        client = self.client()

        async def ten() -> bool:
            return all([await client.call() for _ in range(10)])

        try:
            return await closed_loop([ten], calls)
        finally:
            await client.close()


def read_targets(file: Path) -> list[Target]:
    """The targets of a file."""
    return [_target(each) for each in json.loads(file.read_text())]


def _target(told: dict[str, Any]) -> Target:
    url = urlsplit(told["url"])
    headers = {name: _with_files(value) for name, value in told.get("headers", {}).items()}
    body = b""
    if "json" in told:
        headers["Content-Type"] = "application/json"
        body = json.dumps(told["json"]).encode()
    elif "form" in told:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(told["form"]).encode()
    path = f"{url.path}?{url.query}" if url.query else url.path or "/"
    return Target(
        told["name"],
        url.hostname or "127.0.0.1",
        url.port or 80,
        request(told.get("method", "GET"), path, url.netloc, headers, body),
        told.get("expect", "").encode(),
        tuple(told.get("status", range(200, 300))),
    )


def _with_files(value: str) -> str:
    return re.sub(r"@(/\S+)", lambda found: Path(found[1]).read_text().strip(), value)
