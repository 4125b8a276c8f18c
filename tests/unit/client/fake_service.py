"""A service that answers as a test says, in place of the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx2

from resop_client import LoginStore, Resop

URL = "http://hpc.example"
OPERATORS = {
    "operators": [
        {"name": "core", "description": "", "commands": [], "operations": ["run"]},
        {"name": "slurm", "description": "", "commands": ["squeue"], "operations": ["nodes"]},
        {"name": "utils", "description": "", "commands": ["ls"], "operations": []},
    ]
}

Handler = Callable[[httpx2.Request], httpx2.Response]


def answer(body: Any, status: int = 200, **headers: str) -> httpx2.Response:
    """Return an answer with JSON."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json=body, headers=fields)


def failure(kind: str, status: int, **details: Any) -> httpx2.Response:
    """Return the answer of a failed request."""
    error = {"type": kind, "message": f"this is {kind}", "retryable": False, **details}
    response = answer({"success": False, "error": error}, status)
    if "retry_after" in details:
        response.headers["Retry-After"] = str(details["retry_after"])
    return response


class FakeService:
    """Answers each request with the next of its answers, and keeps the requests."""

    def __init__(self, *answers: httpx2.Response | Exception | Handler) -> None:
        """Take answers: an exception is a fault of the connection, a function makes its answer."""
        self.requests: list[httpx2.Request] = []
        self._answers: Iterator[httpx2.Response | Exception | Handler] = iter(answers)

    def client(self, store: LoginStore, *, token: str = "t", seconds: float = 5) -> Resop:
        """Return a client of this service."""
        http = httpx2.Client(transport=httpx2.MockTransport(self._handle))
        return Resop(URL, token, store=store, retry_seconds=seconds, http=http)

    def bodies(self) -> Sequence[Any]:
        """Return the JSON bodies of all requests that have one."""
        return [json.loads(each.content) for each in self.requests if each.content]

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        if request.url.path == "/operators":
            return answer(OPERATORS)
        self.requests.append(request)
        found = next(self._answers)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx2.Response) else found(request)
