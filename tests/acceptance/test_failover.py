"""Redis fails over again and again while tasks run: nothing is lost, nothing runs twice.

No process ends either. `FAILOVERS` and `FAILOVER_SECONDS` in the environment make it longer, as
`tests/faults.sh` does.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.test_faults import IMPATIENT_WORKER, lines
from tests.support.openssh import OpenSSH
from tests.support.sentinels import RedisWithSentinels
from tests.support.service import Caller, Distributed, cluster_settings, failure
from tests.support.services import MariaDB, eventually

FAILOVERS = int(os.environ.get("FAILOVERS", "4"))
SECONDS = float(os.environ.get("FAILOVER_SECONDS", "2"))
"""Between two failovers; every other one is the death of the master."""
PATIENCE = 60.0
"""Seconds after which a request that is refused must have been accepted."""
ALICE, BOB = ACCOUNTS["alice"], ACCOUNTS["bob"]


@pytest.fixture
def service(folder: Path, ssh: OpenSSH, mariadb: MariaDB, operators: Path) -> Iterator[Distributed]:
    settings = {**cluster_settings(ssh), "OPERATORS_PATH": operators}
    url = mariadb.database("failover")
    servers = RedisWithSentinels(folder / "sentinels")
    try:
        with Distributed(folder / "failover", settings, url, IMPATIENT_WORKER, servers) as started:
            yield started
    finally:
        servers.close()


class Load:
    """Clients that repeat what is answered with 503, as the service asks them to."""

    def __init__(self, service: Distributed, ssh: OpenSSH) -> None:
        self._service = service
        self._ssh = ssh
        self._alice = service.log_in(ALICE)
        self._over = threading.Event()
        self._name = f"load-{secrets.token_hex(4)}"
        self.refusals = 0
        self.answers: list[str] = []
        """The texts that waiting clients have got, each of them once."""
        self.tasks: list[str] = []
        self.batches: list[str] = []
        self.logins = 0

    @property
    def file(self) -> Path:
        """To this file each step appends a line of its own."""
        return self._ssh.home(ALICE.name) / self._name

    def run(self, until: Callable[[], None]) -> None:
        """Send requests until the function has returned; raises what a client raises."""
        with ThreadPoolExecutor(5) as threads:
            clients = [
                *(threads.submit(self._repeat, self._wait, 0.2, api) for api in (0, 1)),
                threads.submit(self._repeat, self._begin, 0.4, 0),
                threads.submit(self._repeat, self._launch, 2, 1),
                threads.submit(self._repeat, self._log_in, 1, 1),
            ]
            try:
                until()
            finally:
                self._over.set()
        for each in clients:
            each.result()

    def _repeat(self, act: Callable[[Caller], None], pause: float, api: int) -> None:
        caller = self._service.caller(self._alice.token, api)
        while not self._over.wait(pause):
            act(caller)

    def _wait(self, caller: Caller) -> None:
        """Run a command that takes longer than a failover notices, and wait for its output."""
        mark = f"waiting-{secrets.token_hex(6)}"
        line = f"echo {mark} >>{self._name}; sleep 0.{secrets.randbelow(9)}; echo {mark}"
        answer = self._accepted(
            lambda key: caller.http.post("/core/opn/run", json={"command": line}, headers=key)
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["output"]["stdout"] == f"{mark}\n"
        self.answers.append(mark)

    def _begin(self, caller: Caller) -> None:
        options = {"file": f"{self._name}-{len(self.tasks)}", "steps": 4, "seconds": 0.5}
        answer = self._accepted(
            lambda key: caller.http.post(
                "/mysite/opn/trail", json=options, headers={**key, "Prefer": "respond-async"}
            )
        )
        assert answer.status_code == 202, answer.text
        self.tasks.append(answer.json()["task"])

    def _launch(self, caller: Caller) -> None:
        number = len(self.batches)
        body = {
            "options": {"command": f"echo batch-{number}-{{{{n}}}} >>{self._name}"},
            "sweep": {"n": {"start": 1, "stop": 10}},
        }
        answer = self._accepted(
            lambda key: caller.http.post("/core/opn/run/batch", json=body, headers=key)
        )
        assert answer.status_code == 202, answer.text
        self.batches.append(answer.json()["batch"])

    def _log_in(self, _: Caller) -> None:
        caller = self._service.caller(api=1)
        answer = self._accepted(lambda key: caller.login(BOB.name, BOB.password))
        assert answer.status_code == 200, answer.text
        self._service.caller(answer.json()["output"]["token"]).post("auth/opn/logout")
        self.logins += 1

    def _accepted(self, send: Callable[[dict[str, str]], httpx.Response]) -> httpx.Response:
        """Repeat a request, with its Idempotency-Key, while trying again can help."""
        key = {"Idempotency-Key": secrets.token_hex(8)}
        deadline = time.monotonic() + PATIENCE
        while (answer := send(key)).status_code == 503:
            error = failure(answer, 503)
            assert error["type"] == "QueueUnavailable" and error["retryable"] is True
            assert time.monotonic() < deadline, error
            self.refusals += 1
            time.sleep(0.2)
        return answer

    def check_ends(self) -> None:
        """Check that everything that was accepted has run, and once."""
        for task in self.tasks:
            assert eventually(lambda: self._state(task) not in ("queued", "running"), PATIENCE)  # noqa: B023
            assert self._state(task) == "succeeded"
        expected = {*self.answers}
        for number, batch in enumerate(self.batches):
            seen = self._alice.http.get(f"/batches/{batch}", params={"wait": PATIENCE}).json()
            assert seen["counts"]["succeeded"] == 10, seen
            expected |= {f"batch-{number}-{n}" for n in range(1, 11)}
        ran = Counter(lines(self.file))
        assert set(ran) == expected, "lost, or run though no client was answered"
        assert [line for line, times in ran.items() if times > 1] == []
        for number in range(len(self.tasks)):
            steps = lines(self.file.with_name(f"{self._name}-{number}"))
            assert steps == ["0", "1", "2", "3"], number

    def _state(self, task: str) -> str:
        return str(self._alice.task(task)["state"])


@pytest.mark.timeout(180 + FAILOVERS * (SECONDS + 10))
def test_nothing_is_lost_and_nothing_runs_twice_while_redis_fails_over(
    service: Distributed, ssh: OpenSSH
) -> None:
    servers = service.redis_server
    assert isinstance(servers, RedisWithSentinels)
    processes = [*service.apis, *service.workers]
    load = Load(service, ssh)

    def fail_over() -> None:
        for number in range(FAILOVERS):
            time.sleep(SECONDS)
            (servers.kill_master if number % 2 else servers.failover)()
        time.sleep(SECONDS)

    load.run(fail_over)
    load.check_ends()
    assert load.answers and load.tasks and load.batches and load.logins
    assert [each.exit_code for each in processes] == [None] * 4
    done = (len(load.answers), len(load.tasks), len(load.batches), load.logins)
    print(f"{FAILOVERS} failovers: {done} requests of each kind, {load.refusals} answered 503")
