"""A login node whose sshd allows one channel, few handshakes, and no Ed25519 (as FIPS 140)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH
from tests.support.openssh import reason_unavailable as no_openssh
from tests.support.service import Caller, Embedded, cluster_settings, failure

ALICE = Account("alice", "alice's password")
CONFIG = """\
MaxSessions 1
MaxStartups 4:50:8
PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256
"""


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[OpenSSH]:
    need(no_openssh())
    with OpenSSH(folder / "strict", [ALICE], config=CONFIG) as server:
        yield server


@pytest.fixture(scope="module")
def strict(folder: Path, cluster: OpenSSH) -> Iterator[Embedded]:
    # As people write the name; ssh-keyscan and ssh write it in lower case.
    known = folder / "strict_known_hosts"
    known.write_text(cluster.known_hosts.read_text().replace(cluster.host, "localhost"))
    settings = {**cluster_settings(cluster), "CLUSTER_ADDRESS": "LocalHost", "KNOWN_HOSTS": known}
    with Embedded(folder / "strict-service", settings) as started:
        yield started


def log_in(service: Embedded) -> Caller:
    answer = service.caller().login(ALICE.name, ALICE.password)
    assert answer.status_code == 200, answer.text
    return service.caller(answer.json()["output"]["token"])


def test_everything_waits_its_turn(strict: Embedded, cluster: OpenSSH) -> None:
    keys = cluster.home(ALICE.name) / ".ssh" / "authorized_keys"

    def put(number: int) -> httpx.Response:
        return callers[0].http.put(f"/files/f{number % 6}", content=b"x" * 1000)

    def end(caller: Caller) -> tuple[bool, str]:
        answer = caller.post("auth/opn/logout")
        assert answer.status_code == 200, answer.text
        output = answer.json()["output"]
        return output["key_removed"], output.get("reason", "")

    with ThreadPoolExecutor(12) as pool:
        callers = list(pool.map(log_in, [strict] * 10))
        assert keys.read_text().count("ecdsa-sha2-nistp256 ") == 10
        steps = pool.map(lambda number: callers[1].run(f"echo {number}"), range(12))
        files = list(pool.map(put, range(12)))
        assert {each.status_code for each in files} <= {200, 201}, [each.text for each in files]
        assert [each.json()["output"]["stdout"] for each in steps] == [f"{n}\n" for n in range(12)]
        assert list(pool.map(end, callers)) == [(True, "")] * 10
    assert keys.read_text() == ""


def test_command_that_no_line_can_carry_is_refused_before_it_is_queued(strict: Embedded) -> None:
    alice = log_in(strict)
    limit = alice.http.get("/limits").json()["command_bytes"]
    before = alice.newest("task")
    for size in (limit + 1, 131_040, 131_071):
        error = failure(alice.run(f": {'x' * (size - 2)}"), 422)
        assert f"has {size} bytes, but a command line can have at most {limit}" in error["message"]
    assert alice.newest("task") == before
