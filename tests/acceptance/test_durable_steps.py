"""Tasks without a waiting client survive their worker and their connection.

Their steps run once and their answer is exact. The processes are real; only the recovery's timeouts
are shorter.
"""

import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from resop.ssh.runner.remote import spool as remote
from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.test_faults import IMPATIENT_WORKER, Site, lines
from tests.support.needs import need
from tests.support.openssh import OpenSSH
from tests.support.openssh import reason_unavailable as no_openssh
from tests.support.service import Caller, Distributed, cluster_settings
from tests.support.services import MariaDB, eventually
from tests.support.services import reason_unavailable as no_servers
from tests.support.webhook_receiver import WebhookReceiver

ALICE, BOB = ACCOUNTS["alice"], ACCOUNTS["bob"]
LONG_OUTPUT = "".join(f"{number}\n" for number in range(1, 200_001))[: 600 << 10]


@pytest.fixture(scope="module")
def bob_and_site(folder: Path, operators: Path) -> Iterator[tuple[Caller, Site]]:
    need(no_openssh())
    need(no_servers())
    (folder / "hook2").mkdir()
    with (
        OpenSSH(folder / "node2", [ALICE, BOB]) as ssh,
        MariaDB(folder / "db2") as mariadb,
        ThreadPoolExecutor(4) as threads,
        WebhookReceiver(folder / "hook2") as hook,
    ):
        settings = {**cluster_settings(ssh), "OPERATORS_PATH": operators}
        (ssh.home("bob") / ".cache").write_text("in the way")
        url = mariadb.database("surviving")
        with Distributed(folder / "surviving", settings, url, IMPATIENT_WORKER) as service:
            site = Site(service, ssh, mariadb, service.log_in(ALICE), threads, hook)
            yield service.log_in(BOB), site


@pytest.fixture
def bob(bob_and_site: tuple[Caller, Site]) -> Caller:
    return bob_and_site[0]


@pytest.fixture
def site(bob_and_site: tuple[Caller, Site]) -> Iterator[Site]:
    """Return the site with a worker; check that the test leaves nothing on its login node."""
    site = bob_and_site[1]
    if not site.service.workers:
        site.service.add_workers(1)
    yield site
    assert eventually(lambda: spools(site) == [] or resend_messages(site)), spools(site)
    runners = len(site.service.workers)  # one for each worker's connection, and no supervisor
    processes = partial(site.ssh.processes, "alice")
    assert eventually(lambda: len(processes()) <= runners), processes()


def spools(site: Site) -> list[Path]:
    """Return the spools on the login node, except the tombstones of ended steps."""
    folder = site.ssh.home("alice") / remote.SPOOL_ROOT
    found = list(folder.iterdir()) if folder.exists() else []
    return [each for each in found if [*each.iterdir()] != [each / remote.TOMBSTONE]]


def resend_messages(site: Site) -> bool:
    """Run a command, so that messages lost with a connection are sent again; True if that helps."""
    assert site.alice.run("true").status_code == 200
    return spools(site) == []


class RunningTask:
    """A running task, which signals its start in a file on the login node and waits for another."""

    def __init__(self, site: Site, action: str, caller: Caller | None = None, **options: Any):
        self.name = f"task-{secrets.token_hex(4)}"
        self.site = site
        self.caller = caller or site.alice
        user = "alice" if caller is None else "bob"
        self.file = site.ssh.home(user) / self.name
        task_options = {
            key: value.replace("FILE", self.name) if isinstance(value, str) else value
            for key, value in options.items()
        }
        self.task = self.caller.begin(action, task_options)
        assert eventually(lambda: lines(self.file))

    def go(self, stage: str = "go") -> None:
        self.file.with_name(f"{self.name}.{stage}").touch()

    def ended(self) -> dict[str, Any]:
        assert eventually(
            lambda: self.caller.task(self.task, wait=5)["state"] not in ("queued", "running")
        )
        return self.caller.task(self.task)


WAITING = "echo >>FILE; while [ ! -e FILE.go ]; do sleep 0.05; done; "


def check_journey(journey: RunningTask) -> None:
    seen = journey.ended()
    assert seen["state"] == "succeeded", seen
    assert [each.split()[0] for each in seen["output"]] == ["1", "2", "3", "4", "5"]
    assert sorted(lines(journey.file)) == ["1", "2", "3", "4", "5"]
    assert seen["log"] == ["it begins", f"after {seen['output'][0]}", "nearly there"]
    assert [step["number"] for step in seen["steps"]] == [1, 2, 3, 4, 5]
    assert {step["exit_code"] for step in seen["steps"]} == {0}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_task_survives_its_worker(site: Site, bob: Caller, how: signal.Signals) -> None:
    line = f"{WAITING} seq 200000 | head -c {600 << 10}; echo err >&2"
    long = RunningTask(site, "core/opn/run", command=line)
    journey = RunningTask(site, "mysite/opn/journey", file="FILE")
    journey.go("first")
    assert eventually(lambda: len(lines(journey.file)) == 4)
    os.mkfifo(site.ssh.home("alice") / "pipe", 0o666)
    (site.ssh.home("alice") / "pipe").chmod(0o666)
    command = site.alice.begin("utils/cmd/cat", {"input": ["pipe"]})
    assert eventually(lambda: "cat pipe" in "\n".join(site.ssh.processes("alice")))
    ended = RunningTask(site, "core/opn/run", command="echo >>FILE; sleep 0.5; echo done; exit 0")
    cancelled = RunningTask(
        site, "core/opn/run", command="echo >>FILE; trap '' TERM; sleep 4400 & sleep 4401 | cat"
    )
    stubborn = RunningTask(site, "mysite/opn/trail", file="FILE", steps=3, seconds=4500)
    without_spool = RunningTask(site, "core/opn/run", bob, command="echo >>FILE; sleep 4600")
    if how == signal.SIGKILL:
        for worker in list(site.service.workers):
            site.service.kill_worker(worker)
    else:
        site.service.stop_workers()
    assert eventually(lambda: "sleep 4600" not in "".join(site.ssh.processes("bob")))
    answer = site.alice.http.delete(f"/tasks/{cancelled.task}")
    assert answer.status_code == 202, answer.text
    assert any("sleep 4401" in each for each in site.ssh.processes("alice"))
    site.service.add_workers(1)

    seen = cancelled.ended()
    assert (seen["state"], seen["error"].get("ended")) == ("cancelled", True), seen
    assert not any("sleep 440" in each for each in site.ssh.processes("alice"))
    long.go()
    journey.go("second")
    with (site.ssh.home("alice") / "pipe").open("w") as pipe:
        pipe.write("through the pipe\n")
    (site.ssh.home("alice") / "pipe").unlink()
    seen = long.ended()
    assert (seen["state"], seen["error"]) == ("succeeded", None)
    assert (seen["output"]["stdout"], seen["output"]["stderr"]) == (LONG_OUTPUT, "err\n")
    assert len(lines(long.file)) == 1
    check_journey(journey)
    assert ended.ended()["output"]["stdout"] == "done\n" and len(lines(ended.file)) == 1
    seen = site.alice.task(command, wait=20)
    assert (seen["state"], seen["output"]) == ("succeeded", "through the pipe\n"), seen
    said = [stubborn.ended(), without_spool.ended()]
    if how == signal.SIGKILL:
        assert [each["error"]["type"] for each in said] == ["ContactLost", "ContactLost"]
        assert "cannot be resumed; of its step 1" in said[0]["error"]["message"]
        assert "it was ended; no later step was sent" in said[0]["error"]["message"]
    else:
        assert [each["state"] for each in said] == ["cancelled", "cancelled"]
    assert lines(stubborn.file) == ["0"] and len(lines(without_spool.file)) == 1
    assert not any("sleep 4500" in each for each in site.ssh.processes("alice"))


def test_task_survives_its_connection(site: Site) -> None:
    line = f"{WAITING} seq 200000 | head -c {600 << 10}"
    long = RunningTask(site, "core/opn/run", command=line)
    journey = RunningTask(site, "mysite/opn/journey", file="FILE")
    site.ssh.drop_connections()
    journey.go("first")
    long.go()
    assert eventually(lambda: len(lines(journey.file)) == 4)
    site.ssh.drop_connections()
    journey.go("second")
    seen = long.ended()
    assert (seen["state"], seen["error"]) == ("succeeded", None)
    assert seen["output"]["stdout"] == LONG_OUTPUT
    assert len(lines(long.file)) == 1
    check_journey(journey)


def test_operation_that_diverges_when_resumed_is_lost(site: Site) -> None:
    task = site.alice.begin("mysite/opn/wander", {})
    assert eventually(lambda: any("sleep 4700" in each for each in site.ssh.processes("alice")))
    site.service.stop_workers()
    site.service.add_workers(1)
    seen = site.ended(task)
    assert (seen["state"], seen["error"]["type"]) == ("lost", "ContactLost")
    assert "did not ask for the same steps again" in seen["error"]["message"]
    assert eventually(lambda: not any("sleep 4700" in p for p in site.ssh.processes("alice")))
