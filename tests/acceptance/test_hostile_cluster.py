"""Two clusters, one of them an attacker's: nothing of the other is reachable from it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH
from tests.support.openssh import reason_unavailable as no_openssh
from tests.support.service import Caller, Embedded, failure, run_resop, write_config
from tests.support.services import eventually

ADMIN = Account("hpcadmin", "known to the site")
IMPOSTOR = Account("hpcadmin", "anything")
"""The administrator of a cluster can make an account of any name there."""
LIAR = Account("mallory", "anything")
DOUBLE = Account("hpcadmin@main", "anything")
SECRET = "marker-of-the-directory"

POLICY = """\
default: deny
rules:
  - allow: core:*
    users: "*@main"
  - allow: ldap:*
    users: [hpcadmin@main, "*@devbox"]
  - allow: utils:echo
    rate: 2
  - allow: utils:*
"""


@pytest.fixture(scope="module")
def main_cluster(folder: Path) -> Iterator[OpenSSH]:
    need(no_openssh())
    with OpenSSH(folder / "m", [ADMIN]) as server:
        yield server


@pytest.fixture(scope="module")
def devbox(folder: Path) -> Iterator[OpenSSH]:
    with OpenSSH(folder / "d", [IMPOSTOR, LIAR, DOUBLE]) as server:
        claim = "exec > >(sed -u 's/ name mallory$/ name hpcadmin/')\n"
        (server.home("mallory") / ".bashrc").write_text(claim)
        yield server


@pytest.fixture(scope="module")
def clusters(folder: Path, main_cluster: OpenSSH, devbox: OpenSSH) -> Path:
    file = folder / "two.yml"
    file.write_text(
        "".join(
            f"- {{name: {name}, address: {ssh.host}, ssh_port: {ssh.port}, "
            f"known_hosts: {ssh.known_hosts}{more}}}\n"
            for name, ssh, more in [
                ("main", main_cluster, ", secrets: [LDAP_BIND_PASSWORD]"),
                ("devbox", devbox, ""),
            ]
        )
    )
    return file


@pytest.fixture(scope="module")
def settings(folder: Path, clusters: Path) -> dict[str, object]:
    policy = folder / "two-policy.yml"
    policy.write_text(POLICY)
    return {
        "CLUSTERS_FILE": clusters,
        "POLICY_FILE": policy,
        "LDAP_URI": "ldap://127.0.0.1:1",
        "LDAP_BIND_DN": "cn=admin",
        "LDAP_BIND_PASSWORD": SECRET,
        "LDAP_PEOPLE": "ou=people",
        "LDAP_GROUPS": "ou=groups",
    }


@pytest.fixture(scope="module", params=["hpcadmin@main", "hpcadmin@main, hpcadmin@devbox"])
def service(
    request: pytest.FixtureRequest, folder: Path, settings: dict[str, object]
) -> Iterator[Embedded]:
    """Start the service; in the second case its administrator trusts the other cluster's users."""
    name = "t2" if "," in request.param else "t1"
    with Embedded(folder / name, {**settings, "ADMINISTRATORS": request.param}) as started:
        yield started


def log_in(service: Embedded, account: Account, cluster: str) -> httpx.Response:
    options = {"username": account.name, "password": account.password, "cluster": cluster}
    return service.caller().post("auth/opn/login", options)


def caller(service: Embedded, account: Account, cluster: str) -> Caller:
    answer = log_in(service, account, cluster)
    assert answer.status_code == 200, answer.text
    return service.caller(answer.json()["output"]["token"])


def test_the_password_of_another_cluster_is_none_here(service: Embedded) -> None:
    failure(log_in(service, IMPOSTOR, "main"), 401)


@pytest.mark.parametrize("account", [IMPOSTOR, DOUBLE], ids=lambda account: account.name)
def test_no_secret_leaves_for_another_cluster(service: Embedded, account: Account) -> None:
    impostor = caller(service, account, "devbox")
    answer = impostor.post("ldap/opn/find_user", {"username": "alice"})
    assert failure(answer, 403)["type"] in ("NotPermitted", "Forbidden")
    assert impostor.task(answer.json()["task"])["steps"] == []
    assert SECRET not in answer.text


def test_the_administrator_of_the_bound_cluster_uses_the_secret(service: Embedded) -> None:
    admin = caller(service, ADMIN, "main")
    answer = admin.post("ldap/opn/find_user", {"username": "alice"})
    assert answer.status_code not in (403, 200)  # sent, but there is no directory
    assert admin.task(answer.json()["task"])["steps"] != []
    assert SECRET not in answer.text


def test_a_rule_for_a_user_is_for_that_cluster(service: Embedded) -> None:
    assert caller(service, ADMIN, "main").run("id -un").status_code == 200
    for account in (IMPOSTOR, DOUBLE):
        error = failure(caller(service, account, "devbox").run("id -un"), 403)
        assert error["type"] == "Forbidden"


def test_tasks_batches_and_keys_of_another_cluster_do_not_exist(service: Embedded) -> None:
    admin, impostor = caller(service, ADMIN, "main"), caller(service, IMPOSTOR, "devbox")
    repeated = {"Idempotency-Key": "the same"}
    mine = admin.http.post("/utils/cmd/id", json={}, headers=repeated).json()["task"]
    body: dict[str, object] = {"items": [{}, {}]}
    batch = admin.http.post("/utils/cmd/id/batch", json=body).headers["location"]
    assert impostor.newest("task") == [] or mine not in impostor.newest("task")
    assert batch.rpartition("/")[2] not in impostor.newest("batch")
    for address in (f"/tasks/{mine}", batch, f"/tasks/{mine}/events"):
        assert impostor.http.get(address).status_code == 404
    assert impostor.http.delete(f"/tasks/{mine}").status_code == 404
    theirs = impostor.http.post("/utils/cmd/id", json={}, headers=repeated)
    assert theirs.status_code == 200 and theirs.json()["task"] != mine
    fresh = impostor.http.post("/utils/cmd/id", json={})
    assert fresh.json()["task"] != mine


def test_rates_are_counted_for_each_cluster(service: Embedded) -> None:
    admin, impostor = caller(service, ADMIN, "main"), caller(service, IMPOSTOR, "devbox")
    answers: list[int] = []
    while len(answers) < 6:  # a new minute may begin meanwhile
        answers.append(impostor.post("utils/cmd/echo", {"input": "x"}).status_code)
        if answers[-1] == 429:
            break
    assert answers[-1] == 429
    assert admin.post("utils/cmd/echo", {"input": "x"}).status_code == 200


def test_revocation_and_audit_tell_the_clusters_apart(service: Embedded) -> None:
    admin, double = caller(service, ADMIN, "main"), caller(service, DOUBLE, "devbox")
    admin.run("echo on-main")
    double.post("utils/cmd/echo", {"input": "on-devbox"})
    there = run_resop(service.folder, "audit", "--user", "hpcadmin@devbox").stdout
    assert "on-main" not in there
    assert "on-main" in run_resop(service.folder, "audit", "--user", "hpcadmin@main").stdout
    run_resop(service.folder, "keys", "--user", "hpcadmin@devbox", "--revoke")
    assert admin.http.get("/tasks").status_code == 200
    assert run_resop(service.folder, "keys", "--user", "hpcadmin@main", "--revoke").returncode == 0
    assert eventually(lambda: admin.http.get("/tasks").status_code == 401)


def test_an_account_that_claims_a_name_of_its_own_cluster_is_refused(service: Embedded) -> None:
    assert failure(log_in(service, LIAR, "devbox"), 403)["type"] == "IdentityUnknown"


def test_failed_logins_there_do_not_lock_anybody_out_here(service: Embedded) -> None:
    wrong = Account("hpcadmin", "wrong")
    answers = {log_in(service, wrong, "devbox").status_code for _ in range(6)}
    assert answers <= {401, 429}
    assert log_in(service, ADMIN, "main").status_code == 200


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("ADMINISTRATORS", "hpcadmin", "ADMINISTRATORS: 'hpcadmin' names none of the 2 clusters"),
        ("POLICY_FILE", "users: hpcadmin", "rules.0: 'hpcadmin' names none of the 2 clusters"),
        ("POLICY_FILE", "groups: staff", "rules.0: 'staff' names none of the 2 clusters"),
    ],
)
def test_a_name_without_a_cluster_is_refused_at_start(
    tmp_path: Path, settings: dict[str, object], key: str, value: str, said: str
) -> None:
    if key == "POLICY_FILE":
        policy = tmp_path / "policy.yml"
        policy.write_text(f"default: allow\nrules:\n  - deny: core:run\n    {value}\n")
        value = str(policy)
    write_config(tmp_path, {**settings, key: value})
    for command in ("check", "up"):
        told = run_resop(tmp_path, command)
        assert told.returncode == 1 and said in told.stderr
