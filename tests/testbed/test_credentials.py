"""Kept sessions and certificates on the real thing: a code at every connection, a user CA."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.support.centre import service
from tests.support.service import Caller, Embedded, failure
from tests.support.services import eventually
from tests.support.testbed import Testbed, totp

pytestmark = pytest.mark.timeout(120)


def caller(running: Embedded, token: str = "") -> Caller:
    return Caller(f"http://127.0.0.1:{running.ports[0]}", token)


@pytest.fixture(scope="module")
def keeping(bed: Testbed) -> Iterator[Embedded]:
    with service(bed.site, CLUSTER_LOGIN="kept") as started:
        yield started


def log_in(running: Embedded, bed: Testbed) -> Caller:
    """Log in with a code that has not been used: each is good once."""
    user = bed.site.two_factor
    with contextlib.closing(caller(running)) as nobody:
        for _ in range(3):
            options = {
                "username": user.name,
                "password": user.password,
                "otp": totp(str(user.totp_secret)),
            }
            answer = nobody.post("auth/opn/login", options)
            if answer.status_code == 200:
                break
            time.sleep(30 - time.time() % 30)
    assert answer.status_code == 200, answer.text
    return caller(running, answer.json()["output"]["token"])


def test_where_a_code_is_wanted_at_every_connection_the_session_is_kept(
    keeping: Embedded, bed: Testbed
) -> None:
    user = bed.site.two_factor
    keys = bed.site.state / "home" / user.name / ".ssh" / "authorized_keys"
    before = keys.read_bytes()
    with contextlib.closing(caller(keeping)) as nobody:
        assert failure(nobody.login(user.name, user.password), 401)["type"] == "OtpRequired"
        wrong = {"username": user.name, "password": "wrong", "otp": "123456"}
        assert failure(nobody.post("auth/opn/login", wrong), 401)["type"] == "LoginRefused"
    with contextlib.closing(log_in(keeping, bed)) as tfa:
        for _ in range(3):
            assert tfa.run("whoami").json()["output"]["stdout"] == f"{user.name}\n"
        sent = tfa.post("core/opn/send_file", {"path": "kept.txt", "content": "42"})
        assert sent.status_code == 200, sent.text
        assert keys.read_bytes() == before
        assert tfa.post("auth/opn/logout").json()["output"]["key_removed"] is True
        assert failure(tfa.run("true"), 401)["type"] == "LoginAgain"
        assert eventually(lambda: "sshd: tfa" not in bed.machine.run(["ps", "-eo", "args"]))


def test_a_cut_connection_is_a_new_login_at_once(keeping: Embedded, bed: Testbed) -> None:
    with contextlib.closing(log_in(keeping, bed)) as tfa:
        assert tfa.run("true").status_code == 200
        processes = bed.machine.run(["ps", "-eo", "pid=,args="]).splitlines()
        pids = [line.split()[0] for line in processes if "sshd: tfa@" in line]
        bed.machine.run(["kill", "-9", *pids])
        assert eventually(lambda: tfa.http.get("/tasks").status_code == 401)
        assert failure(tfa.run("true"), 401)["type"] == "LoginAgain"
