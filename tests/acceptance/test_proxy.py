"""The service behind nginx with deploy/nginx.conf, as docs/proxy.md describes."""

from __future__ import annotations

import contextlib
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

from tests.acceptance.conftest import ACCOUNTS, only_embedded
from tests.acceptance.test_pages import LOGIN, Visitor
from tests.support.needs import need
from tests.support.ports import HOST, free_port
from tests.support.service import ENVIRON, Caller, Service, failure, run_resop
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


PREFIXES = {
    "stripped": "location /stripped/ { proxy_pass http://resop/; PREFIX }",
    "kept": "location /kept/ { proxy_pass http://resop; PREFIX }",
    "quiet": "location /quiet/ { proxy_pass http://resop/; }",
}
"""How sites serve resop below a path; the last one says nothing about it, and merges slashes."""


@pytest.fixture(scope="module")
def below(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start an nginx with little configuration, and serve resop below three paths."""
    need(None if NGINX else "nginx is missing: install the Debian package nginx-light")
    folder, port = tmp_path_factory.mktemp("below"), free_port()
    locations = "".join(
        text.replace("PREFIX", f"proxy_set_header X-Forwarded-Prefix /{name};")
        for name, text in PREFIXES.items()
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n"
        "http { access_log off; proxy_http_version 1.1; proxy_buffering off;\n"
        f"upstream resop {{ server {HOST}:{service.ports[0]}; }}\n"
        f"server {{ listen {HOST}:{port}; proxy_set_header Host $http_host; {locations} }} }}\n"
    )
    command = [str(NGINX), "-c", str(config), "-p", str(folder), "-g", "daemon off;"]
    process = Process(command, folder / "nginx.log", ENVIRON, cwd=folder)
    address = f"http://{HOST}:{port}"

    def answers() -> bool:
        try:
            live = httpx.get(f"{address}/quiet/health/live", trust_env=False)
        except httpx.TransportError:
            return False
        return live.status_code == 200

    process.until(answers, "nginx")
    yield address
    process.stop()


@pytest.mark.parametrize("name", ["stripped", "kept"])
def test_every_address_has_the_path_below_which_the_proxy_serves(
    below: str, alice: Caller, name: str
) -> None:
    root = f"/{name}"
    with httpx.Client(base_url=below, timeout=60, trust_env=False) as client:
        client.headers["Authorization"] = alice.http.headers["Authorization"]
        assert client.get(f"{root}/").json()["documentation"] == f"{root}/docs"
        listed = client.get(f"{root}/utils/commands").json()["commands"]
        assert {client.get(each["url"]).status_code for each in listed[:3]} == {200}
        document = client.get(f"{root}/openapi.json").json()
        assert document["servers"] == [{"url": root}] and "/tasks" in document["paths"]
        for page in ("/docs", "/docs/swagger"):
            shown = client.get(root + page).text
            used = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"'#]+)""", shown)
            answers = [client.get(each, follow_redirects=True) for each in used]
            assert {answer.status_code for answer in answers} == {200}
        begun = client.post(
            f"{root}/core/opn/run", json={"command": "true"}, headers={"Prefer": "respond-async"}
        )
        assert begun.headers["location"] == f"{root}/tasks/{begun.json()['task']}"
        seen = client.get(begun.headers["location"] + "/events").text
        assert "event: done" in seen and "http" not in seen
        forged = {
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Port": "1",
            "Forwarded": "host=x",
        }
        assert "evil" not in client.get(f"{root}/pages/", headers=forged).headers["location"]


@pytest.mark.parametrize("name", ["stripped", "kept"])
def test_pages_work_below_the_path(below: str, name: str) -> None:
    visitor = Visitor(below)
    browser = {"Accept": "text/html"}
    first = visitor.http.get(f"/{name}/", headers=browser)
    assert (first.status_code, first.headers["location"]) == (303, f"/{name}/pages/")
    asked = visitor.http.get(f"/{name}/pages/tasks")
    login = asked.headers["location"]
    assert login == f"/{name}{LOGIN}?next=%2Fpages%2Ftasks"
    answer = visitor.post(login, username="alice", password=ACCOUNTS["alice"].password)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/{name}/pages/tasks")
    [cookie] = answer.headers.get_list("set-cookie")
    assert cookie.startswith(f"resop.{name}=") and f"; Path=/{name};" in cookie
    page = visitor.get(f"/{name}/pages/")
    links = set(re.findall(r'(?:href|action)="(/[^"#]*)', page))
    assert len(links) > 10 and all(each.startswith(f"/{name}/") for each in links)
    assert visitor.http.get(f"/{name}/pages/style.css").status_code == 200
    done = visitor.post(f"/{name}/core/opn/run/submit", command="echo below")
    assert "below" in visitor.get(done.headers["location"])
    out = visitor.post(f"/{name}/auth/opn/logout/submit", keep_running="true")
    assert out.headers["location"].startswith(f"/{name}{LOGIN}?left=")
    visitor.http.close()


def test_absolute_paths_pass_every_proxy(below: str, alice: Caller) -> None:
    made = alice.run("mktemp -d /tmp/below-XXXXXX").json()["output"]["stdout"].strip()
    names = ["a", "a%3Fb%23c%25d", "%20e%20", "f+g;h=i&j", "U%CC%88", "%C3%9C", "%FF", "a%0Ab"]
    with httpx.Client(base_url=below, timeout=60, trust_env=False) as client:
        client.headers["Authorization"] = alice.http.headers["Authorization"]
        for root in map("/{}".format, PREFIXES):
            for name in names:
                path, content = f"{root}/files/-{made}/{name}", secrets.token_bytes(20)
                assert client.put(path, content=content).status_code == 201, path
                query = f"{root}/files?path={made}/{name.replace('+', '%2B').replace('&', '%26')}"
                for form in (path, query):
                    assert client.get(form).content == content, form
                    assert client.head(form).headers["content-length"] == "20", form
                assert client.delete(query).status_code == 204, query
            assert client.put(f"{root}/files?path={made}/x", content=b"x").status_code == 201
            assert b"x" in client.get(f"{root}/folders/-{made}").content
            assert b"x" in client.get(f"{root}/folders?path={made}&format=zip").content
            assert client.delete(f"{root}/files/-{made}/x").status_code == 204
    alice.run(f"rmdir {made}")


def test_absolute_path_that_a_proxy_has_folded_hits_no_file_at_home(
    below: str, alice: Caller
) -> None:
    assert alice.run("mkdir -p tmp etc && echo home >tmp/x && echo home >etc/x").status_code == 200
    with httpx.Client(base_url=f"{below}/quiet", timeout=60, trust_env=False) as client:
        client.headers["Authorization"] = alice.http.headers["Authorization"]
        for form in ("//tmp/x", "/%2Ftmp/x", "//etc/x", "/%2Fetc/x"):
            path = f"/files{form}"
            for answer in (
                client.get(path),
                client.put(path, content=b"other"),
                client.delete(path),
                client.get(f"/folders{form[:-2]}"),
                client.put(f"/folders{form}", content=b""),
            ):
                message = failure(answer, 422)["message"]
                assert "'~/" in message and "'-/" in message
            assert client.head(path).status_code == 422
        for path, content in {
            "/files/~/tmp/x": "home\n",
            "/files?path=etc/x": "home\n",
        }.items():
            assert client.get(path).text == content
    assert alice.run("cat tmp/x etc/x").json()["output"]["stdout"] == "home\nhome\n"
    alice.run("rm -r tmp etc")


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
        with contextlib.suppress(ConnectionResetError):  # an end as well
            assert eventually(lambda: not client.recv(1 << 16), 60)
        assert time.monotonic() - began < 60
