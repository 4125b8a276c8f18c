"""Security headers of a running service: HTTPS, cross-origin requests, frames."""

import contextlib
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.test_pages import LOGIN, Visitor
from tests.support.ports import HOST, free_port
from tests.support.service import RESOP, Caller, Distributed

PORTAL = "https://portal.example"


@pytest.fixture
def browser(guarded: Distributed) -> httpx.Client:
    return guarded.caller().http


def preflight(browser: httpx.Client, origin: str) -> httpx.Response:
    asks = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,prefer",
    }
    return browser.options("/core/opn/run", headers=asks)


def test_page_of_an_allowed_site_may_call_with_a_token(browser: httpx.Client) -> None:
    allowed = preflight(browser, PORTAL)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PORTAL)
    assert "access-control-allow-credentials" not in allowed.headers
    answer = browser.get("/limits", headers={"Origin": PORTAL})
    assert answer.headers["access-control-allow-origin"] == PORTAL
    refused = browser.post("/core/opn/run", headers={"Origin": PORTAL})
    assert refused.status_code == 401  # and a page of that site can read the reason
    assert refused.headers["access-control-allow-origin"] == PORTAL


@pytest.mark.parametrize("origin", ["https://evil.example", "http://portal.example", "null"])
def test_page_of_another_site_may_not(browser: httpx.Client, origin: str) -> None:
    assert "access-control-allow-origin" not in preflight(browser, origin).headers
    answer = browser.get("/limits", headers={"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers


def test_without_allowed_sites_no_page_may_call(guarded: Distributed) -> None:
    # Below a path as well: to start another process takes long.
    with guarded.additional_api(CORS_ORIGINS="", ROOT_PATH="/resop") as plain:
        browser = guarded.caller(api=plain).http
        for path in ("/openapi.json", "/resop/openapi.json"):
            assert browser.get(path).json()["servers"] == [{"url": "/resop"}]
        moved = browser.get("/resop/pages/tasks").headers["location"]
        assert moved == f"/resop{LOGIN}?next=%2Fpages%2Ftasks"
        answer = browser.get("/limits", headers={"Origin": PORTAL})
        assert not any(name.startswith("access-control") for name in answer.headers)
        asked = preflight(browser, PORTAL)
        assert (asked.status_code, asked.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
        assert not any(name.startswith("access-control") for name in asked.headers)


@pytest.mark.parametrize("path", ["/", "/limits", "/docs", "/no/such/path", LOGIN, "/pages/"])
def test_no_answer_can_be_framed_or_sniffed(browser: httpx.Client, path: str) -> None:
    headers = browser.get(path).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers and "strict-transport-security" not in headers


READ = ("/", "/health/live", "/health/ready", "/limits", "/openapi.json", "/docs", "/operators")
READ_WITH_TOKEN = ("/tasks", "/batches", "/logins", "/api-keys", "/core", "/core/opn/run")
STREAMS = ("/tasks/export.csv", "/tasks/export.ndjson", "/folders/~")


def test_head_is_get_without_its_content(guarded: Distributed) -> None:
    tina = guarded.log_in(ACCOUNTS["tina"])
    task = tina.post("utils/cmd/echo", {"input": ["x"]}).json()["task"]
    before = tina.newest("task")
    for path in (*READ, *READ_WITH_TOKEN, f"/tasks/{task}", LOGIN):
        got, head = tina.http.get(path), tina.http.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path
        assert "content-length" in head.headers, path
    for path in (*STREAMS, f"/tasks/{task}/events"):
        head = tina.http.head(path)
        assert (head.status_code, head.content) == (200, b""), path
    running = tina.begin("core/opn/run", {"command": "sleep 30"})
    began = time.monotonic()
    events = tina.http.head(f"/tasks/{running}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    assert tina.http.head("/limits").status_code == 200  # on the same connection
    assert time.monotonic() - began < 5
    tina.http.delete(f"/tasks/{running}")
    assert tina.newest("task")[1:] == before, "a HEAD has begun a task"
    for path, status in {"/tasks/none": 404, "/no/such/path": 404, "/auth/opn/login": 401}.items():
        assert guarded.caller().http.head(path).status_code == (
            401 if path.startswith("/tasks") else status
        )


@pytest.fixture
def https(guarded: Distributed, tmp_path: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Start an API with HTTPS; yield its port and a context that trusts its certificate."""
    key, certificate, port = tmp_path / "key.pem", tmp_path / "cert.pem", free_port()
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    named = ["-subj", "/CN=resop", "-addext", f"subjectAltName=IP:{HOST}"]
    files = ["-nodes", "-days", "1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *named, *files], check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=str(certificate))
    environ = {"SSL_PRIVATE_KEY": str(key), "SSL_CERTIFICATE": str(certificate)}
    environ |= {"ENABLE_HTTPS": "true", "PORT": str(port)}
    api = guarded._run([*RESOP, "api"], "api-https.log", **environ)

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            address = f"https://{HOST}:{port}/health/ready"
            return httpx.get(address, verify=trusting, trust_env=False).status_code == 200
        return False

    api.until(answers, "resop api")
    yield port, trusting
    api.stop()


def test_https_sets_a_secure_cookie_and_hsts(
    https: tuple[int, ssl.SSLContext],
) -> None:
    port, trusting = https
    visitor = Visitor(f"https://{HOST}:{port}")
    visitor.http = httpx.Client(base_url=f"https://{HOST}:{port}", verify=trusting, trust_env=False)
    right = {"username": "tina", "password": ACCOUNTS["tina"].password}
    answer = visitor.post(LOGIN, **right)
    [cookie] = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-resop=")
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "tina on hpc" in visitor.get("/pages/")
    visitor.http.close()
    plain = Caller(f"http://{HOST}:{port}")
    with pytest.raises(httpx.TransportError):
        plain.http.get("/limits")
    plain.close()
