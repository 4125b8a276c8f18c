"""Other services to measure in the same rounds: `--targets FILE`.

The file is a JSON list of `{name, url, method?, headers?, json?, form?, expect?, status?}`; each
request runs one remote command. `@/path` in a header's value is replaced by the text of that file
(a token). A good answer has `expect` in its body and one of the codes in `status` (default: 200 to
299).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from bench.load import HttpClient, Measurement, closed_loop, http_request, run_clients


@dataclass(frozen=True, slots=True)
class TargetService:
    """A request to another service, over plain HTTP, that runs one remote command."""

    name: str
    host: str
    port: int
    request: bytes
    expected: bytes
    statuses: tuple[int, ...]

    def client(self) -> HttpClient:
        """Create a client that sends the request."""
        return HttpClient(
            self.port, self.request, self.expected, host=self.host, statuses=self.statuses
        )

    async def measure(self, callers: int, calls: int) -> Measurement:
        """Send the request `calls` times, shared by the callers."""
        return await run_clients([self.client() for _ in range(callers)], calls)

    async def measure_tens(self, calls: int) -> Measurement:
        """Send ten requests one after the other, counted as one call, `calls` times."""
        client = self.client()

        async def call() -> bool:
            return all([await client.call() for _ in range(10)])

        try:
            return await closed_loop([call], calls)
        finally:
            await client.close()


def read_targets(file: Path) -> list[TargetService]:
    """Read the services of a targets file."""
    return [_target(entry) for entry in json.loads(file.read_text())]


def _target(entry: dict[str, Any]) -> TargetService:
    url = urlsplit(entry["url"])
    headers = {name: _insert_files(value) for name, value in entry.get("headers", {}).items()}
    body = b""
    if "json" in entry:
        headers["Content-Type"] = "application/json"
        body = json.dumps(entry["json"]).encode()
    elif "form" in entry:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urlencode(entry["form"]).encode()
    path = f"{url.path}?{url.query}" if url.query else url.path or "/"
    return TargetService(
        entry["name"],
        url.hostname or "127.0.0.1",
        url.port or 80,
        http_request(entry.get("method", "GET"), path, url.netloc, headers, body),
        entry.get("expect", "").encode(),
        tuple(entry.get("status", range(200, 300))),
    )


def _insert_files(value: str) -> str:
    return re.sub(r"@(/\S+)", lambda match: Path(match[1]).read_text().strip(), value)
