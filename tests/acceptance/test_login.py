"""Logins: accepted, refused and expired, and their traces on the cluster."""

import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resop.security.encryption import Encryptor
from resop.security.tokens import Token
from tests.acceptance.conftest import ACCOUNTS, only_distributed
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Distributed, Service, failure
from tests.support.services import eventually

OURS = re.compile(rb"^restrict,expiry-time=.* resop:.*\n", re.MULTILINE)
OPEN = {
    "GET /",
    "GET /limits",
    "GET /health/live",
    "GET /health/ready",
    "POST /auth/opn/login",
    "POST /auth/opn/login_token",
}


def authorized_keys(ssh: OpenSSH, name: str) -> Path:
    return ssh.home(name) / ".ssh" / "authorized_keys"


def test_login_answers_with_user_cluster_and_expiry(service: Service) -> None:
    answer = service.caller().login("bob", ACCOUNTS["bob"].password)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    output = answer.json()["output"]
    assert set(output) == {"token", "username", "cluster", "expires_at"}
    assert (output["username"], output["cluster"]) == ("bob", "hpc")
    lifetime = datetime.fromisoformat(output["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=7.9) < lifetime <= timedelta(hours=8)
    assert service.caller(output["token"]).run("whoami").json()["output"]["stdout"] == "bob\n"


def test_login_takes_form_fields(service: Service) -> None:
    fields = {"username": "bob", "password": ACCOUNTS["bob"].password}
    answer = service.caller().http.post("/auth/opn/login", data=fields)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("username", ["alice", "nobody-of-that-name"])
def test_wrong_password_is_refused_without_telling_whether_the_user_exists(
    service: Service, username: str
) -> None:
    error = failure(service.caller().login(username, "wrong"), 401)
    assert error["type"] == "LoginRefused"
    assert error["message"] == "The cluster refused this user name and password."


def test_after_five_wrong_passwords_sshd_gets_no_more_logins(
    service: Service, ssh: OpenSSH
) -> None:
    def sshd_was_asked() -> int:
        return len(set(re.findall(r"for walter from \S+ port \d+", ssh.log.read_text())))

    caller, other = service.caller(), service.caller(api=-1)
    for attempt in range(5):
        failure((caller, other)[attempt % 2].login("walter", f"wrong {attempt}"), 401)
    assert eventually(lambda: sshd_was_asked() >= 5)
    asked = sshd_was_asked()
    for each in (caller, other):
        answer = each.login("walter", ACCOUNTS["walter"].password)
        error = failure(answer, 429)
        assert error["type"] == "TooManyAttempts" and error["retryable"] is True
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert sshd_was_asked() == asked
    assert service.caller().login("bob", ACCOUNTS["bob"].password).status_code == 200


def test_logout_ends_one_of_several_logins_at_once_everywhere(
    service: Service, ssh: OpenSSH
) -> None:
    before = (
        authorized_keys(ssh, "bob").read_bytes() if authorized_keys(ssh, "bob").exists() else b""
    )
    callers = [service.log_in(ACCOUNTS["bob"]) for _ in range(3)]
    assert len(OURS.findall(authorized_keys(ssh, "bob").read_bytes())) >= 3
    for caller in callers:
        assert caller.run("true").status_code == 200
    ended, *others = callers
    elsewhere = service.caller(ended.token, api=-1)
    assert elsewhere.http.get("/tasks").status_code == 200  # this API has cached the token too

    assert ended.post("auth/opn/logout").json()["output"] == {
        "username": "bob",
        "cluster": "hpc",
        "key_removed": True,
    }
    assert failure(ended.run("true"), 401)["type"] == "TokenRefused"
    assert eventually(
        lambda: elsewhere.http.get("/tasks").status_code == 401, 20
    )  # without the message it would take a minute
    failure(elsewhere.run("true"), 401)
    failure(ended.post("auth/opn/logout"), 401)

    for other in others:
        assert other.run("true").status_code == 200
        assert other.post("auth/opn/logout").status_code == 200
    assert authorized_keys(ssh, "bob").read_bytes() == before


def test_logout_closes_idle_connections(service: Service, ssh: OpenSSH) -> None:
    def runners() -> int:
        return sum(each.startswith("python3 -I -S") for each in ssh.processes("bob"))

    bob = service.log_in(ACCOUNTS["bob"])
    assert bob.run("true").status_code == 200
    before = runners()
    assert bob.post("auth/opn/logout").status_code == 200
    assert eventually(lambda: runners() < before)


@only_distributed  # the code is the same in both profiles
@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPz a@b", 0o644),
        (b"# kept\r\n\r\n  no-pty ssh-rsa AAAA== \xff\xfe\n\n\n", 0o600),
        (b'restrict,expiry-time="20200101000000" ssh-ed25519 AAAA resop:0:theirs\n', 0o400),
    ],
)
def test_authorized_keys_is_the_same_byte_by_byte_after_logout(
    service: Service, ssh: OpenSSH, content: bytes, mode: int
) -> None:
    file = authorized_keys(ssh, "bob")
    kept = file.read_bytes() if file.exists() else b""
    ssh.authorize("bob", "")  # creates the file
    try:
        file.write_bytes(content)
        file.chmod(mode)
        caller = service.log_in(ACCOUNTS["bob"])
        during = file.read_bytes()
        assert during.endswith(content) and len(OURS.findall(during[: -len(content)])) == 1
        assert caller.post("auth/opn/logout").json()["output"]["key_removed"] is True
        assert file.read_bytes() == content
        assert file.stat().st_mode & 0o777 == mode
        assert file.stat().st_uid == file.stat().st_gid == ssh.uid("bob")
        assert {each.name for each in file.parent.iterdir()} == {"authorized_keys"}
    finally:
        file.chmod(0o600)
        file.write_bytes(kept)


Forge = Callable[[str], str]


@pytest.mark.parametrize(
    "forge",
    [
        lambda token: "garbage",
        lambda token: "a.b.c.d.e",
        lambda token: "....",
        lambda token: token[:-4],
        lambda token: token[:-20] + ("A" if token[-20] != "A" else "B") + token[-19:],
        lambda token: token + "A",
        lambda token: token.split(".")[0],
        lambda token: "eyJhbGciOiJub25lIn0.e30.",
        lambda token: "x" * 6000,
        lambda token: f"{token} {token}",
    ],
    ids=lambda _: "",
)
def test_forged_token_is_refused(service: Service, alice: Caller, forge: Forge) -> None:
    forged = forge(alice.token)
    for answer in (service.caller(forged).http.get("/tasks"), service.caller(forged).run("true")):
        error = failure(answer, 401)
        assert error["type"] == "TokenRefused"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert alice.token not in answer.text


@pytest.mark.parametrize("header", ["", "Bearer", "Basic YTpi", "token", "bearer x"])
def test_invalid_authorization_header_asks_for_a_token(service: Service, header: str) -> None:
    answer = service.caller().http.get("/tasks", headers={"Authorization": header})
    assert failure(answer, 401)["type"] in ("NotLoggedIn", "TokenRefused")


def test_token_of_another_service_is_refused(service: Service, alice: Caller) -> None:
    own = Encryptor(service.settings.secret_key())
    token = own.read_token(alice.token)
    assert service.caller(own.issue_token(token)).run("true").status_code == 200
    foreign = Encryptor(b"another service's key, long enough: 0123456789").issue_token(token)
    assert failure(service.caller(foreign).run("true"), 401)["type"] == "TokenRefused"


def test_token_of_an_unknown_login_is_refused(service: Service, alice: Caller) -> None:
    own = Encryptor(service.settings.secret_key())
    real = own.read_token(alice.token)
    unknown = Token(real.username, real.cluster, "no-such-login", real.key_share, real.expires)
    assert (
        failure(service.caller(own.issue_token(unknown)).run("true"), 401)["type"] == "TokenRefused"
    )


@only_distributed
def test_expired_token_is_refused_and_the_default_wait_is_the_servers(
    service: Service,
) -> None:
    """Test two settings with one additional API process, because its start takes longest."""
    assert isinstance(service, Distributed)
    with service.additional_api(TOKEN_HOURS=str(6 / 3600), SYNC_WAIT="0.3") as short:
        began = time.monotonic()
        caller = service.log_in(ACCOUNTS["bob"], api=short)
        assert caller.run("true", prefer="wait=20").status_code == 200
        answer = caller.run("sleep 1")
        assert answer.status_code == 202 and "preference-applied" not in answer.headers
        assert eventually(lambda: caller.http.get("/tasks").status_code == 401)
        assert time.monotonic() - began > 5
        assert failure(caller.run("true"), 401)["message"].startswith("the token has expired")
        failure(service.caller(caller.token).run("true"), 401)


def test_all_paths_but_the_open_ones_need_a_token(service: Service, alice: Caller) -> None:
    document = alice.http.get("/openapi.json").json()
    stranger, asked = service.caller(), []
    for path, methods in document["paths"].items():
        for method in methods:
            asked.append(name := f"{method.upper()} {path}")
            answer = stranger.http.request(method, path.replace("{task_id}", "x"))
            if name in OPEN:
                assert answer.status_code in (200, 422), name
            elif method == "head":  # the answer has no body
                assert answer.status_code == 401, name
            else:
                assert failure(answer, 401)["type"] == "NotLoggedIn", name
    assert set(asked) >= OPEN and len(asked) > 50
    for path in ("/core", "/core/commands", "/core/operations", "/nothing", "/no/opn/thing"):
        assert failure(stranger.http.get(path), 401)


def test_login_to_an_unknown_cluster_lists_the_known_ones(service: Service) -> None:
    login: dict[str, Any] = {"username": "bob", "password": "x", "cluster": "elsewhere"}
    error = failure(service.caller().post("auth/opn/login", login), 422)
    assert error["faults"][0]["field"] == "cluster" and "hpc" in error["message"]


def test_logout_neither_awaits_nor_ends_running_tasks(service: Service) -> None:
    caller = service.log_in(ACCOUNTS["bob"])
    sign = f"sign-{secrets.token_hex(4)}"
    line = f"until test -e {sign}; do sleep 0.1; done; rm {sign}; echo done"
    task = caller.begin("core/opn/run", {"command": line})
    other = service.log_in(ACCOUNTS["bob"])
    assert eventually(lambda: other.task(task)["state"] == "running")
    assert caller.post("auth/opn/logout").status_code == 200
    assert other.task(task)["state"] == "running"
    assert other.run(f"touch {sign}").status_code == 200
    assert other.task(task, wait=20)["output"]["stdout"] == "done\n"
