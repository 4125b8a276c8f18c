"""Held sessions and certificates on a real cluster: a code at every connection, a user CA."""

import contextlib
import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.support.centre import logged_in, service
from tests.support.service import Caller, Embedded, failure
from tests.support.services import eventually
from tests.support.testbed import Testbed, totp

pytestmark = pytest.mark.timeout(120)

ENDED = ("SessionExpired", "TokenRefused")
"""The second if the end of the login arrives while a request is being served."""


def caller(running: Embedded, token: str = "") -> Caller:
    return Caller(f"http://127.0.0.1:{running.ports[0]}", token)


@pytest.fixture(scope="module")
def keeping(bed: Testbed) -> Iterator[Embedded]:
    with service(bed.site, CLUSTER_LOGIN="held") as started:
        yield started


def log_in(running: Embedded, bed: Testbed) -> Caller:
    """Log in with a code that has not been used: each is good once."""
    user = bed.site.two_factor
    answer = None
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
    assert answer is not None and answer.status_code == 200
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
        assert failure(tfa.run("true"), 401)["type"] in ENDED
        assert eventually(lambda: not sessions(bed))


def sessions(bed: Testbed) -> list[str]:
    """Return the ids of sshd's processes for the user tfa; OpenSSH 9.8 calls them sshd-session."""
    lines = bed.machine.run(["ps", "-eo", "pid=,args="]).splitlines()
    return [line.split()[0] for line in lines if re.search(r"sshd(-session)?: tfa", line)]


def test_a_cut_connection_is_a_new_login_at_once(keeping: Embedded, bed: Testbed) -> None:
    with contextlib.closing(log_in(keeping, bed)) as tfa:
        assert tfa.run("true").status_code == 200
        bed.machine.run(["kill", "-9", *sessions(bed)])
        assert eventually(lambda: tfa.http.get("/tasks").status_code == 401)
        assert failure(tfa.run("true"), 401)["type"] in ENDED


@pytest.fixture(scope="module")
def issuer() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})


@pytest.fixture(scope="module")
def certifying(
    bed: Testbed, issuer: RSAKey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Embedded]:
    keys = tmp_path_factory.mktemp("issuer") / "jwks.json"
    keys.write_text(json.dumps({"keys": [issuer.as_dict(private=False)]}))
    with service(
        bed.site,
        CLUSTER_LOGIN="certificate",
        USER_CA_KEY=bed.site.ssh.user_ca,
        OIDC_ISSUER="https://id.hpc.example",
        OIDC_AUDIENCE="resop",
        OIDC_KEYS=keys,
    ) as started:
        yield started


def claims(**others: object) -> dict[str, object]:
    return {
        "iss": "https://id.hpc.example",
        "aud": "resop",
        "iat": int(time.time()),
        "exp": int(time.time()) + 300,
        "preferred_username": "alice",
        **others,
    }


def test_a_certificate_of_the_user_ca_leaves_nothing_on_the_cluster(
    certifying: Embedded, bed: Testbed
) -> None:
    user = bed.site.users[0]
    keys = bed.site.state / "home" / user.name / ".ssh" / "authorized_keys"
    before = keys.read_bytes()
    with contextlib.closing(caller(certifying)) as nobody:
        assert failure(nobody.login(user.name, "wrong"), 401)["type"] == "LoginRefused"
    with logged_in(certifying, user.name, user.password) as alice:
        assert alice.run("whoami").json()["output"]["stdout"] == "alice\n"
        assert alice.run("test -t 0; echo $?").json()["output"]["stdout"] == "1\n"
        assert keys.read_bytes() == before
        assert alice.post("auth/opn/logout").json()["output"]["key_removed"] is True
        assert failure(alice.run("true"), 401)["type"] == "TokenRefused"


def test_an_api_key_has_a_certificate_of_its_own(certifying: Embedded, bed: Testbed) -> None:
    user = bed.site.users[0]
    with logged_in(certifying, user.name, user.password) as alice:
        made = alice.http.post("/api-keys", json={"name": "ci", "scope": {"actions": ["core:*"]}})
        assert made.status_code == 201, made.text
        with contextlib.closing(caller(certifying, made.json()["key"])) as program:
            assert program.run("whoami").json()["output"]["stdout"] == "alice\n"
            assert failure(program.post("utils/cmd/id"), 403)["type"] == "Forbidden"
            ended = alice.http.delete(f"/api-keys/{made.json()['id']}")
            assert ended.json()["key_removed"] is True
            assert failure(program.run("true"), 401)["type"] == "TokenRefused"
        assert alice.post("auth/opn/logout").status_code == 200


def test_a_trusted_token_is_a_login(certifying: Embedded, issuer: RSAKey) -> None:
    def log_in(signer: RSAKey | OctKey, alg: str = "RS256", **others: object) -> httpx.Response:
        text = jwt.encode({"alg": alg, "kid": "one"}, claims(**others), signer, algorithms=[alg])
        return nobody.post("auth/opn/login_token", {"id_token": text})

    with contextlib.closing(caller(certifying)) as nobody:
        answer = log_in(issuer)
        assert answer.status_code == 200, answer.text
        assert answer.json()["output"]["username"] == "alice"
        with contextlib.closing(caller(certifying, answer.json()["output"]["token"])) as alice:
            assert alice.run("whoami").json()["output"]["stdout"] == "alice\n"
        for others in (
            {"iss": "https://id.other.example"},
            {"aud": "another"},
            {"exp": int(time.time()) - 5},
            {"exp": None},
            {"nbf": int(time.time()) + 300},
            {"azp": "another"},
            {"iat": int(time.time()) - 86_400},
            {"preferred_username": "root"},
            {"preferred_username": "slurm"},
            {"preferred_username": ["alice"]},
            {"preferred_username": "a,b"},
        ):
            assert failure(log_in(issuer, **others), 401)["type"] == "LoginRefused", others
        stranger = RSAKey.generate_key(2048, {"kid": "one"})
        assert failure(log_in(stranger), 401)["type"] == "LoginRefused"
        shared = OctKey.generate_key(256, {"kid": "one"})
        assert failure(log_in(shared, "HS256"), 401)["type"] == "LoginRefused"
        refused = nobody.post("auth/opn/login_token", {"id_token": "x.y.z"})
        assert failure(refused, 401)["type"] == "LoginRefused"
