"""The page of docs/portal.html, in a browser, with the answers of a real Slurm."""

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support import browser
from tests.support.browser import Browser
from tests.support.centre import logged_in, service
from tests.support.needs import need
from tests.support.services import eventually
from tests.support.testbed import Testbed

SCOPE = {"read_only": True, "actions": ["slurm:*"]}
DOCS = Path(__file__).parents[2] / "docs"


class _Docs(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def site_of_page() -> Iterator[str]:
    """Serve docs/ as a site of its own."""
    handler = functools.partial(_Docs, directory=str(DOCS))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_portal_page_shows_the_cluster(bed: Testbed, site_of_page: str, tmp_path: Path) -> None:
    need(browser.reason_unavailable())
    assert len((DOCS / "portal.html").read_text().splitlines()) <= 100
    user = bed.site.users[0]
    with (
        service(bed.site, CORS_ORIGINS=site_of_page) as own,
        logged_in(own, user.name, user.password) as caller,
        Browser(tmp_path, scripts=True) as window,
    ):
        script = "#!/bin/sh\nsleep 600\n"
        held = {"script": script, "job_name": "<b>held & shown</b>", "hold": True}
        assert caller.post("slurm/opn/submit", held).json()["success"]
        key = caller.http.post("/api-keys", json={"name": "portal", "scope": SCOPE})
        window.resize(1280, 1600)
        window.open(f"{site_of_page}/portal.html")
        window.fill("url", str(caller.http.base_url).rstrip("/"))
        window.fill("token", "wrong")
        window.click("button")
        assert eventually(lambda: "token" in window.text("#error")), window.text()
        window.fill("token", key.json()["key"])
        window.click("button")
        assert eventually(lambda: "What limits" in window.text()), window.text()
        (tmp_path / "portal.png").write_bytes(window.screenshot())
        text = window.text()
        assert window.text("#error") == ""
        for each in ("Partitions", "Jobs", "Nodes", "Reservations", "What limits my jobs"):
            assert each in text
        assert "<b>held & shown</b>" in text and "JobHeldUser" in text
        for node in caller.post("slurm/opn/nodes", {}).json()["output"]:
            assert f"{node['name']} {node['status']}" in text
        assert "undefined" not in text and "NaN" not in text
        assert window.overhang() <= 0
