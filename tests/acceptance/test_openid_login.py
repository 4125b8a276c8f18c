"""Logins with an OpenID Connect issuer: ID tokens, access tokens, browser, device; its outages."""

import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from resop.config.openid import REDIRECT_PATH
from resop_client import DeviceCode, LoginStore, Resop, errors
from tests.acceptance.conftest import ACCOUNTS
from tests.support import service as support
from tests.support.issuer import CLIENT, FakeIssuer
from tests.support.openssh import OpenSSH
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded, failure, run_resop

ORIGIN = "https://resop.example"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def issuer(folder: Path) -> Iterator[FakeIssuer]:
    place = folder / "issuer"
    place.mkdir()
    with FakeIssuer(place) as started:
        yield started


@pytest.fixture(scope="module")
def node(folder: Path) -> Iterator[OpenSSH]:
    """Start a login node that trusts a user CA."""
    place = folder / "openid" / "ssh"
    place.mkdir(parents=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / "ca")], check=True
    )
    accounts = [ACCOUNTS["alice"], ACCOUNTS["bob"]]
    config = "TrustedUserCAKeys /mnt/ca.pub"  # this folder, in the view of sshd
    with OpenSSH(place, accounts, config=config) as started:
        yield started


def settings(folder: Path, node: OpenSSH, issuer: FakeIssuer, **others: object) -> dict[str, Any]:
    """Return settings with one cluster for passwords and keys, and one for certificates."""
    clusters = folder / "openid" / "clusters.yml"
    clusters.write_text(
        "".join(
            f"- {{name: {name}, address: {node.host}, ssh_port: {node.port}, login: {login}}}\n"
            for name, login in (("hpc", "key"), ("cert", "certificate"))
        )
    )
    return {
        "CLUSTERS_FILE": clusters,
        "KNOWN_HOSTS": node.known_hosts,
        "USER_CA_KEY": folder / "openid" / "ssh" / "ca",
        "OIDC_ISSUER": issuer.address,
        "OIDC_AUDIENCE": CLIENT,
        "OIDC_CLIENT_SECRET": issuer.secret,
        "OIDC_REDIRECT_URI": f"{ORIGIN}{REDIRECT_PATH}",
        "OIDC_ACCESS_TOKENS": "true",
        "TRUSTED_PROXIES": "127.0.0.1",
        **others,
    }


@pytest.fixture(scope="module")
def trusted(issuer: FakeIssuer) -> Iterator[None]:
    """Make the services trust the issuer's certificate."""
    support.ENVIRON["SSL_CERT_FILE"] = str(issuer.authority)
    yield
    del support.ENVIRON["SSL_CERT_FILE"]


@pytest.fixture(scope="module")
def service(folder: Path, node: OpenSSH, issuer: FakeIssuer, trusted: None) -> Iterator[Embedded]:
    with Embedded(folder / "openid" / "up", settings(folder, node, issuer)) as started:
        yield started


@pytest.fixture(autouse=True)
def _alice(issuer: FakeIssuer) -> None:
    issuer.subject = "alice"


def log_in(service: Embedded, id_token: str, cluster: str = "cert") -> httpx.Response:
    options = {"id_token": id_token, "cluster": cluster}
    caller = service.caller()
    # From another address each time: failures are counted by address.
    caller.http.headers["X-Forwarded-For"] = f"198.18.{next(_numbers)}.1"
    return caller.post("auth/opn/login_token", options)


def test_id_token_is_a_login_once(service: Embedded, issuer: FakeIssuer) -> None:
    text = issuer.token()
    answer = log_in(service, text)
    assert answer.status_code == 200, answer.text
    alice = service.caller(answer.json()["output"]["token"])
    assert alice.run("whoami").json()["output"]["stdout"] == "alice\n"
    assert "already used" in failure(log_in(service, text), 401)["message"]
    # The signature has other spellings, the content has not.
    respelled = text[:-1] + chr(ord(text[-1]) + 1)
    assert failure(log_in(service, respelled), 401)["type"] == "LoginRefused"
    assert failure(log_in(service, issuer.token(), "hpc"), 401)["type"] == "LoginRefused"


def test_wrong_tokens_are_refused(service: Embedded, issuer: FakeIssuer) -> None:
    now = int(time.time())
    stranger = RSAKey.generate_key(2048, {"kid": "one"})
    for text in (
        issuer.token(stranger),
        issuer.token(azp="portal"),
        issuer.token(aud=[CLIENT, "portal"]),
        issuer.token(iat=now - 5 * 365 * 86_400, exp=now + 10 * 365 * 86_400),
        issuer.token(header={"typ": "logout+jwt"}),
        issuer.token(header={"typ": "at+jwt"}),
        issuer.access_token(),
        issuer.token(preferred_username="root"),
        issuer.token(preferred_username="daemon"),
        issuer.token(preferred_username="alice:x"),
    ):
        assert failure(log_in(service, text), 401)["type"] == "LoginRefused"


def test_account_below_the_lowest_number_is_refused(
    service: Embedded, folder: Path, node: OpenSSH, issuer: FakeIssuer
) -> None:
    number = node.uid("alice") + 1
    users = folder / "openid" / "users.yml"
    users.write_text("person-bob: bob\n")
    place = folder / "openid" / "strict"
    with Embedded(place, settings(folder, node, issuer, OIDC_MIN_UID=number)) as strict:
        error = failure(log_in(strict, issuer.token()), 401)
        assert "only accounts of persons" in error["message"]
        assert "resop:" not in run_resop(place, "keys").stdout
    listing = {"OIDC_MIN_UID": 10**9, "OIDC_USERS": users, "OIDC_CLAIM": "sub"}
    with Embedded(
        folder / "openid" / "listed", settings(folder, node, issuer, **listing)
    ) as listed:
        assert failure(log_in(listed, issuer.token()), 401)["type"] == "LoginRefused"
        issuer.subject = "bob"
        answer = log_in(listed, issuer.token(preferred_username="alice"))
        assert answer.json()["output"]["username"] == "bob"


def test_access_token_is_exchanged_once_and_ends_with_its_login(
    service: Embedded, issuer: FakeIssuer
) -> None:
    text = issuer.access_token()
    before = run_resop(service.folder, "keys", "--user", "alice").stdout.splitlines()
    callers = [service.caller(text) for _ in range(4)]
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda each=each: answers.append(each.run("whoami")))
        for each in callers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.json()["output"]["stdout"] for each in answers] == ["alice\n"] * 4
    after = run_resop(service.folder, "keys", "--user", "alice").stdout.splitlines()
    assert len(after) == len(before) + 1
    assert callers[0].post("auth/opn/logout").status_code == 200
    for caller in (callers[1], service.caller(text)):
        assert failure(caller.run("whoami"), 401)["type"] == "TokenRefused"


def test_access_token_of_another_client_or_kind_is_refused(
    service: Embedded, issuer: FakeIssuer
) -> None:
    for text in (
        issuer.token(),
        issuer.access_token(client_id="portal"),
        issuer.access_token(aud="portal"),
        issuer.access_token(exp=int(time.time()) - 1),
        issuer.access_token(key=RSAKey.generate_key(2048, {"kid": "one"})),
        "x.y.z",
    ):
        assert failure(service.caller(text).http.get("/tasks"), 401)["type"] == "TokenRefused"


@pytest.fixture
def browser(service: Embedded) -> Iterator[httpx.Client]:
    """Open a browser that reaches the service through a proxy with HTTPS."""
    headers = {"X-Forwarded-Proto": "https"}
    address = f"http://{HOST}:{service.ports[0]}"
    with httpx.Client(base_url=address, headers=headers, timeout=60, trust_env=False) as client:
        yield client


def cookies(answer: httpx.Response) -> dict[str, str]:
    """Return the cookies that an answer sets: the client itself returns none of HTTPS over HTTP."""
    pairs = (each.partition(";")[0].split("=", 1) for each in answer.headers.get_list("set-cookie"))
    return {name: value.strip('"') for name, value in pairs}


def visit(browser: httpx.Client, path: str, held: dict[str, str]) -> httpx.Response:
    text = "; ".join(f"{name}={value}" for name, value in held.items())
    return browser.get(path, headers={"Cookie": text})


def start_login(browser: httpx.Client, query: str = "") -> tuple[str, dict[str, str]]:
    answer = browser.get(f"/pages/openid/begin{query}")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"], cookies(answer)


def test_browser_logs_in_by_code_and_pkce(
    service: Embedded, issuer: FakeIssuer, browser: httpx.Client
) -> None:
    page = browser.get("/auth/opn/login/submit?next=%2Fpages%2Ftasks")
    assert "/pages/openid/begin?next=%2Fpages%2Ftasks" in page.text
    address, held = start_login(browser, "?next=%2Fpages%2Ftasks")
    [(name, value)] = held.items()
    assert name == "__Host-resop-openid" and "nonce" not in value
    back = issuer.authorize(address)
    assert back.startswith(f"{ORIGIN}{REDIRECT_PATH}?")
    looked = browser.head(back.removeprefix(ORIGIN), headers={"Cookie": f"{name}={value}"})
    assert (looked.status_code, cookies(looked)) == (200, {})  # and the code is still good
    answer = visit(browser, back.removeprefix(ORIGIN), held)
    assert (answer.status_code, answer.headers["location"]) == (303, "/pages/tasks"), answer.text
    session = cookies(answer)
    assert session.pop("__Host-resop-openid") == ""
    assert "alice on cert" in visit(browser, "/pages/tasks", session).text
    audit = run_resop(service.folder, "audit", "--action", "auth:login_token").stdout
    assert any("alice" in line and " done " in line for line in audit.splitlines()), audit


def test_answer_for_another_browser_or_request_is_refused(
    issuer: FakeIssuer, browser: httpx.Client
) -> None:
    address, held = start_login(browser)
    other_address, other = start_login(browser)
    back = issuer.authorize(address).removeprefix(ORIGIN)
    other_back = issuer.authorize(other_address).removeprefix(ORIGIN)
    assert visit(browser, back, {}).status_code == 401
    assert visit(browser, back, other).status_code == 401
    assert visit(browser, back, {"__Host-resop-openid": "AAAA"}).status_code == 401
    assert visit(browser, f"{REDIRECT_PATH}?error=access_denied", held).status_code == 401
    forged = f"{REDIRECT_PATH}?error=access_denied&state=" + back.partition("state=")[2]
    assert visit(browser, forged, held).status_code == 401
    # The code of one login, injected into another: its PKCE challenge does not fit.
    code = other_back.partition("code=")[2].partition("&")[0]
    injected = f"{REDIRECT_PATH}?code={code}&state=" + back.partition("state=")[2]
    assert visit(browser, injected, held).status_code == 401
    issuer.nonces.append("of-another-login")
    assert "nonce" in visit(browser, back, held).text
    assert visit(browser, back, held).status_code == 401  # a code is good once
    foreign = back + "&iss=https://evil.example"
    assert visit(browser, foreign, held).status_code == 401


def test_next_page_is_always_one_of_this_site(issuer: FakeIssuer, browser: httpx.Client) -> None:
    address, held = start_login(browser, "?next=https%3A%2F%2Fevil.example%2F")
    answer = visit(browser, issuer.authorize(address).removeprefix(ORIGIN), held)
    assert answer.headers["location"] == "/pages/"


def test_device_flow_of_the_issuer_ends_in_a_login(
    service: Embedded, issuer: FakeIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log in from a terminal with the client: the person enters a code in a browser."""
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer.authority))
    shown: list[DeviceCode] = []

    def enter_later(code: DeviceCode) -> None:
        shown.append(code)
        threading.Timer(1.5, issuer.agree, [code.user_code]).start()

    def answer(error: str, code: DeviceCode) -> None:
        issuer.refuse(code.user_code, error)

    address, store = f"http://{HOST}:{service.ports[0]}", LoginStore(tmp_path)
    with Resop(address, store=store) as hpc:
        hpc.login_at_issuer(enter_later)
        assert (hpc.username, hpc.core.run(command="id -un").stdout) == ("alice", "alice\n")
        kept = store.load(hpc.profile)
        assert kept is not None and (kept.cluster, kept.token) == (
            "cert",
            hpc.connection.login.token,
        )
        assert shown[0].address == f"{issuer.address}/activate"
        for error, message in (
            ("access_denied", "the login was refused at https://"),
            ("expired_token", "was not entered in time"),
            ("invalid_client", "gives no token: invalid_client"),
        ):
            with pytest.raises(errors.LoginRefused, match=message):
                hpc.login_at_issuer(partial(answer, error))
        hpc.logout()


def test_command_line_shows_where_to_enter_the_code(
    service: Embedded, issuer: FakeIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer.authority))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    address = f"http://{HOST}:{service.ports[0]}"
    command = [sys.executable, "-m", "resop_client.cli.main", "-q", "login", address, "--sso"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as login:
        assert login.stderr is not None
        found = re.fullmatch(
            r"Open (https://\S+) and enter the code (\w+)\.\n", login.stderr.readline()
        )
        assert found and found[1] == f"{issuer.address}/activate"
        issuer.agree(found[2])
        assert login.wait(20) == 0


def test_hanging_issuer_stalls_nobody(
    folder: Path, node: OpenSSH, issuer: FakeIssuer, trusted: None
) -> None:
    with Embedded(folder / "openid" / "hang", settings(folder, node, issuer)) as fresh:
        bob = fresh.log_in(ACCOUNTS["bob"])
        assert bob.run("true").status_code == 200
        issuer.silent.set()
        asked = len(issuer.asked)
        callers = [Caller(f"http://{HOST}:{fresh.ports[0]}") for _ in range(80)]
        statuses: list[int] = []

        def attack(caller: Caller, text: str) -> None:
            options = {"id_token": text, "cluster": "cert"}
            statuses.append(caller.post("auth/opn/login_token", options).status_code)

        # Half of them are well-formed, so that the issuer's keys are needed.
        threads = [
            threading.Thread(target=attack, args=(each, issuer.token() if number % 2 else "x.y.z"))
            for number, each in enumerate(callers)
        ]
        try:
            for thread in threads:
                thread.start()
            slowest = 0.0
            while len(issuer.asked) == asked:
                time.sleep(0.05)
            for _ in range(10):
                began = time.monotonic()
                assert bob.http.get("/tasks").status_code == 200
                slowest = max(slowest, time.monotonic() - began)
            answered_before = len([each for each in statuses if each == 502])
            for thread in threads:
                thread.join()
        finally:
            issuer.silent.clear()
            for each in callers:
                each.close()
        # The issuer's silence lasts ten seconds; nobody else noticed.
        assert slowest < 3 and answered_before == 0
        # After some wrong tokens further ones from their address are not looked at.
        assert statuses.count(502) == 40 and set(statuses) <= {401, 429, 502}
        assert len(issuer.asked) == asked + 1
