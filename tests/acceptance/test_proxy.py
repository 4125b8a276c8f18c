"""The service behind nginx with deploy/nginx.conf, as docs/proxy.md describes."""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import only_embedded
from tests.acceptance.test_pages import LOGIN
from tests.support.needs import need
from tests.support.ports import HOST, free_port
from tests.support.service import ENVIRON, Caller, Service, run_resop
from tests.support.services import ROOT, Process, eventually

NAME = "resop.example.org"
CLIENT = "127.0.0.66"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")

pytestmark = only_embedded


class Proxy:
    """A running nginx, and how to reach it."""

    def __init__(self, folder: Path, service: Service) -> None:
        self.folder = folder
        self.port = free_port()
        key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        named = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
        files = ["-nodes", "-days", "1", "-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run([*made, *named, *files], check=True, capture_output=True)
        replaced = {
            "/etc/ssl/resop/certificate.pem": str(self.certificate),
            "/etc/ssl/resop/key.pem": str(key),
            "127.0.0.1:3000": f"{HOST}:{service.ports[0]}",
            "listen 443": f"listen {HOST}:{self.port}",
            "listen 80": f"listen {HOST}:{free_port()}",
            "/run/nginx.pid": str(folder / "nginx.pid"),
            "/var/log/nginx/error.log": str(folder / "error.log"),
        }
        text = (ROOT / "deploy" / "nginx.conf").read_text()
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        self.config = folder / "nginx.conf"
        self.config.write_text(text)

    def connect(self) -> ssl.SSLSocket:
        trusting = ssl.create_default_context(cafile=str(self.certificate))
        raw = socket.create_connection((HOST, self.port), timeout=60)
        return trusting.wrap_socket(raw, server_hostname=NAME)

    def client(self, token: str = "") -> httpx.Client:
        """Return a client that finds the proxy under its name."""
        trusting = ssl.create_default_context(cafile=str(self.certificate))
        return httpx.Client(
            transport=_Named(trusting),
            base_url=f"https://{HOST}:{self.port}",
            headers={"Host": NAME} | ({"Authorization": f"Bearer {token}"} if token else {}),
            timeout=60,
        )


class _Named(httpx.HTTPTransport):
    """A transport that asks for the name of the site in the TLS handshake."""

    def __init__(self, trusting: ssl.SSLContext) -> None:
        super().__init__(verify=trusting, local_address=CLIENT)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": NAME}
        return super().handle_request(request)


@pytest.fixture(scope="module")
def proxy(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    need(None if NGINX else "nginx is missing: install the Debian package nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    made = Proxy(folder, service)
    command = [str(NGINX), "-c", str(made.config), "-p", str(folder), "-g", "daemon off;"]
    process = Process(command, folder / "nginx.log", ENVIRON, cwd=folder)

    def answers() -> bool:
        try:
            with made.client() as client:
                return client.get("/health/live").status_code == 200
        except httpx.TransportError:
            return False

    process.until(answers, "nginx")
    yield made
    process.stop()


def test_cookie_is_secure_and_the_scheme_is_known(proxy: Proxy) -> None:
    with proxy.client() as client:
        answer = client.get(LOGIN)
    [cookie] = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-resop=") and "; Secure" in cookie
    assert answer.headers["strict-transport-security"]


def test_audit_log_names_the_client_whatever_it_says(proxy: Proxy, service: Service) -> None:
    sign = f"proxy-{secrets.token_hex(4)}"
    with proxy.client() as client:
        forged = {"X-Forwarded-For": "192.0.2.1", "X-Request-Id": sign}
        body = {"username": "nobody", "password": sign}
        assert client.post("/auth/opn/login", json=body, headers=forged).status_code == 401
    listed = run_resop(service.folder, "audit", "--user", "nobody", "--format", "ndjson").stdout
    assert f'"address": "{CLIENT}"' in listed.splitlines()[0]
    assert sign not in listed


def test_absolute_paths_and_large_files_pass(proxy: Proxy, alice: Caller) -> None:
    content = secrets.token_bytes(3 << 20)
    name = f"proxy-{secrets.token_hex(4)}"
    with proxy.client(alice.token) as client:
        assert client.put(f"/files/{name}", content=content).status_code == 201
        path = f"{alice.run('pwd').json()['output']['stdout'].strip()}/{name}"
        for form in (f"/files/{path}", f"/files/{path.replace('/', '%2F', 1)}"):
            assert client.get(form).content == content
        assert client.delete(f"/files/{name}").status_code == 204


def test_events_arrive_as_they_happen(proxy: Proxy, alice: Caller) -> None:
    sign = f"sign-{secrets.token_hex(4)}"
    line = f"echo first; until test -e {sign}; do sleep 0.1; done"
    task = alice.begin("core/opn/run", {"command": line})
    with proxy.client(alice.token) as client, client.stream("GET", f"/tasks/{task}/events") as seen:
        lines = seen.iter_lines()
        assert any("first" in each for each in lines)
        assert alice.run(f"touch {sign}").status_code == 200
        assert any(each == "event: done" for each in lines)


def test_other_names_and_large_headers_are_refused(proxy: Proxy) -> None:
    other = ssl.create_default_context(cafile=str(proxy.certificate))
    with (
        socket.create_connection((HOST, proxy.port), timeout=60) as raw,
        pytest.raises(ssl.SSLError),
    ):
        other.wrap_socket(raw, server_hostname="evil.example")
    with proxy.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: " + NAME.encode() + b"\r\n")
        for number in range(8):
            client.sendall(b"X-%d: " % number + b"a" * 10_000 + b"\r\n")
        client.sendall(b"\r\n")
        assert re.match(rb"HTTP/1.1 (400|431) ", client.recv(1 << 16))


def test_half_a_header_ends(proxy: Proxy) -> None:
    with proxy.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        began = time.monotonic()
        assert eventually(lambda: not client.recv(1 << 16), 60)
        assert time.monotonic() - began < 60
