"""Attacks on the HTTP side of a running service, beside a user who works on."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.support.openssh import OpenSSH
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded, cluster_settings, failure
from tests.support.storm import STORMS, storm

HONEST = "127.0.0.200"
"""The user's own address, which is none of the attacker's."""
REQUESTS = 30
GROWTH_MIB = 200
LIMITED_FILES = 1024
"""The usual soft limit of open files, which the service raises for itself."""
BODY_SECONDS = 3


@pytest.fixture(scope="module")
def stormy(folder: Path, ssh: OpenSSH) -> Iterator[Embedded]:
    """Start a service with the limits as they are by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = {**cluster_settings(ssh), "BODY_SECONDS": BODY_SECONDS}
    service = Embedded(folder / "stormy", settings)
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMITED_FILES, hard))
    try:
        service.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield service
        assert not re.search(r"^Traceback", service.log(), re.MULTILINE)
    finally:
        service.__exit__(None, None, None)


@pytest.fixture(scope="module")
def alice(stormy: Embedded) -> Caller:
    caller = stormy.log_in(ACCOUNTS["alice"])
    headers, address = caller.http.headers, caller.http.base_url
    caller.http.close()
    transport = httpx.HTTPTransport(local_address=HONEST)
    caller.http = httpx.Client(base_url=address, headers=headers, timeout=60, transport=transport)
    return caller


def api_process(service: Embedded) -> Path:
    """Return the folder in /proc of the API process."""
    assert service.supervisor is not None
    pid = service.supervisor.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "api.main" in Path(f"/proc/{child}/cmdline").read_text():
            return Path(f"/proc/{child}")
    raise AssertionError("there is no API process")


def resident_mib(process: Path) -> float:
    [kib] = re.findall(r"VmRSS:\s+(\d+)", (process / "status").read_text())
    return int(kib) / 1024


def connect(service: Embedded) -> socket.socket:
    return socket.create_connection((HOST, service.ports[0]), timeout=60)


def received(client: socket.socket) -> bytes:
    """Return everything until the service closes the connection."""
    return b"".join(iter(lambda: client.recv(1 << 16), b""))


@pytest.mark.parametrize("kind", STORMS)
def test_user_works_on_beside_a_storm(stormy: Embedded, alice: Caller, kind: str) -> None:
    process = api_process(stormy)
    before = resident_mib(process)
    task = alice.begin("core/opn/run", {"command": "sleep 600"})
    with storm(kind, stormy.ports[0], alice.token, task):
        seconds = []
        for _ in range(REQUESTS):
            began = time.monotonic()
            answer = alice.http.get("/tasks", params={"limit": 1})
            seconds.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
        assert alice.post("utils/cmd/id").status_code == 200
        grown = resident_mib(process) - before
        open_files = len(list((process / "fd").iterdir()))
    assert grown < GROWTH_MIB, f"{grown:.0f} MiB"
    assert open_files < 5000
    # Generous: client and service share the machine with the attacker.
    assert statistics.median(seconds) < 3
    assert alice.http.delete(f"/tasks/{task}", params={"wait": 20}).status_code == 200


def test_limits_are_those_of_the_raised_limit_of_open_files(alice: Caller) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = alice.http.get("/limits").json()["connections"]
    assert connections == 4000 or connections < hard - LIMITED_FILES // 8
    assert connections > LIMITED_FILES or hard < 2 * LIMITED_FILES


def test_event_streams_of_one_user_are_limited(stormy: Embedded, alice: Caller) -> None:
    limit = alice.http.get("/limits").json()["streams_per_user"]
    path = f"/tasks/{alice.begin('core/opn/run', {'command': 'sleep 600'})}"
    second = stormy.log_in(ACCOUNTS["alice"])  # another login is no other user
    with contextlib.ExitStack() as stack:
        for number in range(limit):
            caller = (alice, second)[number % 2]
            stream = stack.enter_context(caller.http.stream("GET", f"{path}/events"))
            assert stream.status_code == 200
        for caller in (alice, second):
            refused = caller.http.get(f"{path}/events")
            assert failure(refused, 429)["type"] == "LimitReached"
            assert int(refused.headers["retry-after"]) >= 1
        assert alice.http.get(path).status_code == 200
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with alice.http.stream("GET", f"{path}/events") as stream:
            if stream.status_code == 200:
                break
        time.sleep(0.1)
    else:
        raise AssertionError("closed streams still count")
    assert alice.http.delete(path, params={"wait": 20}).status_code == 200


def test_half_closed_client_gets_its_answer(stormy: Embedded, alice: Caller) -> None:
    body = b'{"command": "sleep 1; echo half-closed"}'
    head = f"POST /core/opn/run HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connect(stormy) as client:
        client.sendall(head.encode() + body)
        client.shutdown(socket.SHUT_WR)
        answer = received(client)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"half-closed\\n" in answer


@pytest.mark.parametrize("rest", [b'"half', b"\0"], ids=["a pause", "a byte from time to time"])
def test_half_a_login_ends(stormy: Embedded, rest: bytes) -> None:
    head = b"POST /auth/opn/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    with connect(stormy) as client:
        client.sendall(head + rest)
        client.settimeout(BODY_SECONDS / 10)
        answer, began = b"", time.monotonic()
        while b"RequestTimedOut" not in answer and time.monotonic() - began < 60:
            with contextlib.suppress(TimeoutError):
                answer += client.recv(1 << 16)
            if rest == b"\0" and not answer:
                client.sendall(rest)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"RequestTimedOut" in answer


def test_broken_body_is_no_fault_of_the_service(stormy: Embedded) -> None:
    head = b"POST /auth/opn/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(stormy) as client:
        client.sendall(head + b"1\r\n{\r\nnonsense\r\n")
        answer = received(client)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"MalformedRequest" in answer
    with connect(stormy) as client:
        client.sendall(head + b"1\r\n{\r\n")
    assert "a fault of the service" not in stormy.log()
