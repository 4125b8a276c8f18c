"""Held sessions of a distributed service: the worker that holds a session runs its tasks."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.secrecy import places_of
from tests.acceptance.test_faults import IMPATIENT_WORKER
from tests.support.openssh import OpenSSH
from tests.support.service import Distributed, cluster_settings, failure
from tests.support.services import MariaDB, eventually

ENDED = ("SessionExpired", "TokenRefused")
"""The second if the end of the login arrives while a request is being served."""


@pytest.fixture(scope="module")
def holding_service(folder: Path, ssh: OpenSSH, mariadb: MariaDB) -> Iterator[Distributed]:
    settings = {**cluster_settings(ssh), "CLUSTER_LOGIN": "held", "LOG_LEVEL": "DEBUG"}
    database = mariadb.database("held")
    with Distributed(folder / "held", settings, database, IMPATIENT_WORKER) as started:
        yield started


def authorized_keys(ssh: OpenSSH) -> bytes:
    """Return bob's authorized_keys; other tests add keys to it."""
    file = ssh.home("bob") / ".ssh" / "authorized_keys"
    return file.read_bytes() if file.exists() else b""


def test_batch_runs_on_the_worker_with_the_session_and_files_are_refused(
    holding_service: Distributed,
) -> None:
    bob = holding_service.log_in(ACCOUNTS["bob"])
    body = {"sweep": {"input": [["1"], ["2"], ["3"]]}}
    address = bob.http.post("/utils/cmd/echo/batch", json=body).headers["location"]
    batch = bob.http.get(address, params={"wait": 30}).json()
    assert batch["counts"]["succeeded"] == 3
    error = failure(bob.http.get("/files//etc/hostname"), 403)
    assert error["type"] == "SessionHeldByWorker" and "/files" in error["message"]
    error = failure(bob.http.post("/api-keys", json={"name": "x"}), 403)
    assert error["type"] == "SessionHeldByWorker" and "no API keys" in error["message"]
    assert bob.http.get("/api-keys").json() == {"api_keys": []}


def test_each_login_works_through_every_api_process_and_leaves_no_trace(
    holding_service: Distributed, ssh: OpenSSH, mariadb: MariaDB
) -> None:
    before = authorized_keys(ssh)
    wrong = "marker-of-a-wrong-password"
    error = failure(holding_service.caller().login("bob", wrong), 401)
    assert error["type"] == "LoginRefused"
    for number in range(4):
        caller = holding_service.log_in(ACCOUNTS["bob"], api=number % 2)
        for api in (0, 1):
            answer = holding_service.caller(caller.token, api).run("whoami")
            assert answer.json()["output"]["stdout"] == "bob\n"
    assert authorized_keys(ssh) == before
    assert places_of([wrong, ACCOUNTS["bob"].password], holding_service, mariadb.folder) == []


def test_dead_worker_ends_its_logins_at_once_and_leaves_no_secret(
    holding_service: Distributed, mariadb: MariaDB
) -> None:
    secret = "marker-of-a-secret-in-a-worker-that-crashes"
    callers = [holding_service.log_in(ACCOUNTS["bob"]) for _ in range(3)]
    for caller in callers:
        options = {"words": ["x"], "hidden_word": secret, "input": ["/dev/zero"]}
        task = caller.begin("template/cmd/search", options)
        assert eventually(lambda: caller.task(task)["state"] == "running")  # noqa: B023
    body = {"options": {"command": "sleep {{n}}"}, "sweep": {"n": {"start": 600, "stop": 800}}}
    batch = callers[0].http.post("/core/opn/run/batch", json=body).headers["location"]
    for worker in holding_service.workers:
        limits = Path(f"/proc/{worker.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
    for worker in list(holding_service.workers):
        holding_service.kill_worker(worker)
    for caller in callers:
        assert eventually(lambda: caller.http.get("/tasks").status_code == 401)  # noqa: B023
        assert failure(caller.run("true"), 401)["type"] in ENDED
    assert failure(holding_service.caller().login("bob", ACCOUNTS["bob"].password), 503)[
        "retryable"
    ]
    holding_service.add_workers(1)
    again = holding_service.log_in(ACCOUNTS["bob"])
    assert again.run("true").status_code == 200
    assert places_of([secret], holding_service, mariadb.folder) == []
    assert eventually(lambda: again.http.get(batch).json()["ended_at"], 60)
    counts = again.http.get(batch).json()["counts"]
    assert counts["failed"] + counts["lost"] == 201
    assert '"SessionExpired"' in again.http.get(f"{batch}/results.ndjson").text
    holding_service.stop_workers(*holding_service.workers)
    assert failure(again.run("true"), 401)["type"] in ENDED
