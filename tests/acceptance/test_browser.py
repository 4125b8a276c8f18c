"""The pages in a real browser without JavaScript, from login to logout; the API's with it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import ACCOUNTS, only_embedded
from tests.support.browser import Browser, reason_unavailable
from tests.support.needs import need
from tests.support.openssh import OpenSSH
from tests.support.service import Service
from tests.support.services import eventually

pytestmark = only_embedded


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    need(reason_unavailable())
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as started:
        yield started


@pytest.fixture
def logged_in(browser: Browser, service: Service) -> Browser:
    """Show alice the list of actions, after a login through the form if necessary."""
    browser.open(f"http://127.0.0.1:{service.ports[0]}/")
    if browser.title.startswith("Log in"):
        browser.fill("username", "alice")
        browser.fill("password", ACCOUNTS["alice"].password)
        browser.follow("main button")
    assert browser.title == "Actions · resop"
    return browser


@pytest.mark.parametrize(
    ("path", "selector"),
    [("docs", ".actions a"), ("docs/slurm", "details table"), ("docs/swagger", ".opblock-tag")],
)
def test_api_is_shown_without_any_other_site(
    service: Service, tmp_path: Path, path: str, selector: str
) -> None:
    """Chromium would not run a script that the page's policy forbids."""
    need(reason_unavailable())
    with Browser(tmp_path, scripts=True) as browser:
        browser.open(f"http://127.0.0.1:{service.ports[0]}/{path}")
        assert eventually(lambda: browser.has(selector), 30)


def test_wrong_password_then_the_right_one(browser: Browser, service: Service) -> None:
    browser.open(f"http://127.0.0.1:{service.ports[0]}/pages/tasks")
    browser.fill("username", "alice")
    browser.fill("password", "a wrong one")
    browser.follow("main button")
    assert "refused this user name and password" in browser.text()
    browser.fill("password", ACCOUNTS["alice"].password)  # the form still contains the name
    browser.follow("main button")
    assert browser.address.endswith("/pages/tasks") and browser.title == "Tasks · resop"


def test_form_can_be_filled_in_checked_and_run(logged_in: Browser) -> None:
    browser = logged_in
    browser.follow('a[href="/utils/cmd/ls/submit"]')
    browser.fill("input", "/etc/passwd")
    browser.click('[name="long"]')
    browser.choose("sort", "time")
    browser.follow('[name=":dry_run"]')
    assert "ls -l --sort=time /etc/passwd" in browser.text(".good")
    browser.follow(".buttons button")
    assert "/pages/tasks/" in browser.address
    assert "utils:ls succeeded" in browser.text("h1")
    assert browser.text("section pre").startswith("-rw-r--r--")
    browser.follow(".times a")
    assert "long" in browser.text(".box-check:has(:checked)")


def test_fault_is_shown_beside_its_field(logged_in: Browser) -> None:
    browser = logged_in
    browser.open(browser.address.replace("/pages/", "/template/opn/hello/submit"))
    browser.fill("names", "ada\n../x")
    browser.fill("password", "a secret of hers")
    browser.follow(".buttons button")
    assert "must be a POSIX user name" in browser.text(".wrong .fault")
    assert "a secret of hers" not in browser.source
    browser.fill("names", "ada\ngrace")
    browser.follow(".buttons button")
    assert "Hello, grace!" in browser.text("section")


def test_script_is_sent_as_a_file_and_as_text(logged_in: Browser, tmp_path: Path) -> None:
    browser = logged_in
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\necho from a file\n")
    form = browser.address.replace("/pages/", "/core/opn/script/submit")
    browser.open(form)
    browser.attach("script", script)
    browser.follow(".buttons button")
    assert "from a file" in browser.text("section")
    browser.open(form)
    browser.fill("script", "#!/bin/sh\nif true\nthen echo from a text\nfi\n")
    browser.follow(".buttons button")
    assert "from a text" in browser.text("section")


def test_page_of_a_running_task_shows_its_output_and_then_its_end(
    logged_in: Browser, ssh: OpenSSH
) -> None:
    browser = logged_in
    browser.open(browser.address.replace("/pages/", "/core/opn/run/submit"))
    wait = "until [ -e seen ]; do sleep 0.1; done; rm -f seen"
    browser.fill("command", f"echo '<b>half</b>' | tr a-z A-Z; {wait}; echo $((6*7))")
    browser.follow(".buttons button")
    assert browser.shows("this page refreshes")  # the page may be reloading
    assert browser.shows("&lt;B&gt;HALF&lt;/B&gt;")
    (ssh.home("alice") / "seen").touch()
    assert browser.shows("succeeded</span>") and "42" in browser.text("section")


def test_no_page_is_wider_than_a_narrow_window(logged_in: Browser) -> None:
    browser, site = logged_in, logged_in.address.removesuffix("/pages/")
    browser.resize(400, 900)
    try:
        for path in ("/pages/", "/pages/tasks", "/slurm/cmd/sbatch/submit"):
            browser.open(site + path)
            assert browser.overhang() == 0, path
        browser.open(f"{site}/core/opn/run/submit")
        browser.fill("command", f"echo {'wide' * 100}; printf 'many words %.0s' $(seq 200)")
        browser.follow(".buttons button")
        assert "succeeded" in browser.text("h1") and browser.overhang() == 0
    finally:
        browser.resize(1280, 900)


def test_logout(logged_in: Browser) -> None:
    browser = logged_in
    index = browser.address
    browser.follow("header button")
    assert "You have been logged out" in browser.text()
    browser.open(index)
    assert browser.title == "Log in · resop"
