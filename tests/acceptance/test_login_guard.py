"""Attacks on logins: guessing, locking others out, and keeping the cluster busy.

One of the two clusters takes two seconds to refuse a password, as PAM usually does. A trusted
proxy reports the addresses.
"""

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.support.openssh import OpenSSH
from tests.support.service import Embedded, failure

FAIL_DELAY_SECONDS = 2.0
HONEST_SECONDS = 10.0
"""How long an honest login may take beside an attack; it takes about half a second."""

_networks = itertools.count(1)


@pytest.fixture(scope="module")
def slow_ssh(folder: Path, ssh: OpenSSH) -> Iterator[OpenSSH]:
    """Start a login node that refuses slowly."""
    accounts = list(ssh.accounts.values())
    with OpenSSH(folder / "slow", accounts, fail_delay=FAIL_DELAY_SECONDS) as server:
        yield server


@pytest.fixture(scope="module")
def guard(folder: Path, ssh: OpenSSH, slow_ssh: OpenSSH) -> Iterator[Embedded]:
    clusters = folder / "guard-clusters.yml"
    nodes = {"hpc": ssh, "slow": slow_ssh, "held": slow_ssh}
    clusters.write_text(
        "".join(
            f"- {{name: {name}, address: {node.host}, ssh_port: {node.port}, "
            f"known_hosts: {node.known_hosts}, login: {'held' if name == 'held' else 'key'}}}\n"
            for name, node in nodes.items()
        )
    )
    settings = {
        "CLUSTERS_FILE": clusters,
        "TRUSTED_PROXIES": "127.0.0.1",
        "LOGINS_PER_USER": 6,
    }
    with Embedded(folder / "guard", settings) as started:
        yield started
    assert not re.search(r"^Traceback", started.log(), re.MULTILINE)


@pytest.fixture
def client(guard: Embedded) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{guard.ports[0]}",
        timeout=120,
        trust_env=False,
        limits=httpx.Limits(max_connections=200),
    ) as made:
        yield made


@pytest.fixture
def address() -> str:
    """Return an address from which nobody has logged in."""
    return f"198.51.100.{next(_networks)}"


def log_in(
    client: httpx.Client, user: str, password: str, address: str, cluster: str = "hpc"
) -> httpx.Response:
    options = {"username": user, "password": password, "cluster": cluster}
    headers = {"X-Forwarded-For": address}
    return client.post("/auth/opn/login", json=options, headers=headers)


def honest(client: httpx.Client, user: str, address: str, cluster: str = "hpc") -> httpx.Response:
    return log_in(client, user, ACCOUNTS[user].password, address, cluster)


def attack(
    client: httpx.Client, tries: list[tuple[str, str]], cluster: str = "hpc"
) -> Counter[str | int]:
    """Try wrong passwords for users from addresses, all at once; count 401, and 429 by limit."""

    def guess(user: str, address: str) -> str | int:
        answer = log_in(client, user, "Spring2026!", address, cluster)
        if answer.status_code != 429:
            return answer.status_code
        assert int(answer.headers["retry-after"]) >= 1
        error: dict[str, Any] = failure(answer, 429)
        return str(error["limit"])

    with ThreadPoolExecutor(len(tries)) as pool:
        return Counter(pool.map(lambda each: guess(*each), tries))


def test_one_password_for_many_names_is_stopped(client: httpx.Client, address: str) -> None:
    limit = client.get("/limits").json()["address_login_failures"]
    outcomes = attack(client, [(f"nobody{number}", address) for number in range(60)])
    # Beyond the limit one at a time is let through, after growing pauses.
    assert limit <= outcomes[401] < 2 * limit
    assert outcomes[401] + outcomes["address"] + outcomes["waiting_logins"] == 60


def test_an_ipv6_network_is_one_address(client: httpx.Client) -> None:
    limit = client.get("/limits").json()["login_failures"]
    tries = [("walter", f"2001:db8:0:1::{number:x}") for number in range(1, 60)]
    outcomes = attack(client, tries)
    assert outcomes[401] == limit
    assert outcomes["user_and_address"] + outcomes["waiting_logins"] == 59 - limit


def test_other_spellings_of_a_name_are_no_further_attempts(
    client: httpx.Client, ssh: OpenSSH, address: str
) -> None:
    limit = client.get("/limits").json()["login_failures"]
    spellings = ["tina:{}", "ti\u00adna", "\uff54\uff49\uff4e\uff41", "tina\u2060", "TINA", "tina"]
    before = len(re.findall(r"Failed \S+ for \S*", ssh.log.read_text()))
    statuses = Counter(
        log_in(client, spellings[number % 6].format(number), "wrong", address).status_code
        for number in range(42)
    )
    assert statuses[200] == 0 and statuses[401] <= limit
    assert statuses[401] + statuses[422] + statuses[429] == 42
    after = len(re.findall(r"Failed \S+ for \S*", ssh.log.read_text()))
    assert after - before <= limit


def test_failures_elsewhere_lock_nobody_out_of_a_known_address(
    client: httpx.Client, address: str
) -> None:
    assert honest(client, "fiona", address).status_code == 200
    outcomes = attack(client, [("fiona", f"203.0.113.{number}") for number in range(60)])
    assert outcomes["user"] > 0
    assert honest(client, "fiona", address).status_code == 200


def test_a_shared_address_is_no_lever_against_its_users(client: httpx.Client, address: str) -> None:
    for user in ("alice", "bob"):
        assert honest(client, user, address).status_code == 200
    # Somebody behind the same address guesses: bob's password, then everybody's.
    for _ in range(client.get("/limits").json()["login_failures"]):
        failure(log_in(client, "bob", "wrong", address), 401)
    assert honest(client, "bob", address).status_code == 200
    outcomes = attack(client, [(f"nobody{number}", address) for number in range(80)])
    assert outcomes["address"] + outcomes["waiting_logins"] > 0
    for user in ("alice", "bob"):
        assert honest(client, user, address).status_code == 200


def test_an_earlier_token_leads_past_guesses_from_the_same_address(
    client: httpx.Client, address: str
) -> None:
    # Not fiona: an earlier attack used up what strangers may try in her name.
    answer = honest(client, "alice", address)
    assert answer.status_code == 200, answer.text
    token = answer.json()["output"]["token"]
    outcomes = attack(client, [("alice", address)] * 40)
    assert outcomes["user_and_address"] > 0
    began = time.monotonic()
    answer = client.post(
        "/auth/opn/login",
        json={"username": "alice", "password": ACCOUNTS["alice"].password},
        headers={"X-Forwarded-For": address, "Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - began < HONEST_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["slow", "held"])
def test_slow_failures_do_not_block_others(
    client: httpx.Client, slow_ssh: OpenSSH, address: str, cluster: str
) -> None:
    assert honest(client, "alice", address, cluster).status_code == 200
    tries = [(f"nobody{number}", address) for number in range(75)]
    tries += [(f"nobody{number}", f"203.0.113.{number}") for number in range(75)]
    with ThreadPoolExecutor(len(tries)) as pool:
        storm = [
            pool.submit(log_in, client, user, "wrong", where, cluster) for user, where in tries
        ]
        time.sleep(1.5)
        seconds = []
        # A user who is known behind the attacker's own address, and a stranger elsewhere.
        for user, where in (("alice", address), ("bob", f"192.0.2.{next(_networks)}")):
            began = time.monotonic()
            answer = honest(client, user, where, cluster)
            seconds.append(time.monotonic() - began)
            assert answer.status_code == 200, answer.text
        assert not all(each.done() for each in storm)
        statuses = Counter(each.result().status_code for each in storm)
    assert max(seconds) < HONEST_SECONDS, seconds
    assert set(statuses) == {401, 429}
    assert "MaxStartups" not in slow_ssh.log.read_text()  # sshd was never asked too much


def test_live_logins_of_a_user_are_limited(
    client: httpx.Client, ssh: OpenSSH, address: str
) -> None:
    limit = client.get("/limits").json()["logins_per_user"]
    tokens = [honest(client, "walter", address).json()["output"]["token"] for _ in range(limit + 4)]

    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return client.get("/tasks", headers=headers).status_code

    assert [status(token) for token in tokens] == [401] * 4 + [200] * limit
    lines = (ssh.home("walter") / ".ssh" / "authorized_keys").read_text().count(" resop:")
    assert lines == limit


def test_a_dry_run_is_no_attempt(client: httpx.Client, address: str) -> None:
    options = {"username": "tina", "password": "wrong"}
    for _ in range(10):
        answer = client.post(
            "/auth/opn/login",
            json=options,
            params={"dry_run": "true"},
            headers={"X-Forwarded-For": address},
        )
        assert answer.status_code == 200
    assert honest(client, "tina", address).status_code == 200
