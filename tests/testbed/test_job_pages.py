"""The pages of jobs in a browser without JavaScript, with a real Slurm."""

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import browser
from tests.support.browser import Browser
from tests.support.needs import need
from tests.support.service import Caller, Embedded
from tests.support.services import eventually
from tests.support.testbed import Testbed


@pytest.fixture(scope="module")
def window(running: Embedded, bed: Testbed) -> Iterator[Browser]:
    """Start Chromium, and log in through the form."""
    need(browser.reason_unavailable())
    user = bed.site.users[0]
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as started:
        started.resize(1280, 1400)
        started.open(f"http://127.0.0.1:{running.ports[0]}/pages/jobs")
        started.fill("username", user.name)
        started.fill("password", user.password)
        started.follow("main button")
        assert started.title == "Jobs · resop"
        yield started


def submit(alice: Caller, script: str, **options: object) -> str:
    """Submit a script, and return the job's id."""
    answer = alice.post("slurm/opn/submit", {"script": f"#!/bin/sh\n{script}\n", **options})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["output"]["job"])


def test_person_finds_out_why_a_job_has_failed(window: Browser, alice: Caller) -> None:
    word = secrets.token_hex(4)
    id = submit(alice, f"echo {word}; echo '<b>no such</b>' >&2; exit 7", job_name=f"<i>{word}</i>")
    done = alice.post("slurm/opn/wait", {"ids": [id], "timeout": 60})
    assert done.status_code == 200, done.text
    site = window.address.partition("/pages/")[0]
    window.open(f"{site}/pages/jobs?when=now-1days&state=FAILED")
    assert eventually(lambda: f"<i>{word}</i>" in reloaded(window)), "accounting has the job"
    window.follow(f'a[href$="/pages/jobs/{id}"]')
    assert window.text("h1").split() == ["Job", id, "FAILED"]
    text = window.text()
    assert "exit code 7" in text and word in window.text("section pre")
    assert "<b>no such</b>" in text and f"echo {word}" in text
    for width in (390, 1280):
        window.resize(width, 1400)
        assert window.overhang() <= 0


def reloaded(window: Browser) -> str:
    """Load the page again, and return its text."""
    window.open(window.address)
    return window.text()


def test_jobs_are_held_released_and_cancelled_after_a_question(
    window: Browser, alice: Caller
) -> None:
    ids = [submit(alice, "sleep 600", hold=True) for _ in range(2)]
    site = window.address.partition("/pages/")[0]
    window.open(f"{site}/pages/jobs")
    for id in ids:
        window.click(f'input[value="{id}"]')
    window.follow('[name="do"][value="release"]')
    assert window.text("h1") == "Release 2 jobs?" and ids[0] in window.text(".box")
    window.follow("main form button")
    assert window.title == "Jobs · resop"
    found = alice.post("slurm/opn/jobs", {"ids": ids}).json()["output"]
    assert not any(job["reason"] == "JobHeldUser" for job in found)
    window.follow(f'a[href$="/pages/jobs/{ids[0]}"]')
    window.follow('[name="do"][value="cancel"]')
    assert "cannot be resumed" in window.text(".box")
    window.follow("main form button")
    assert window.title.startswith(f"Job {ids[0]}")
    assert eventually(lambda: "CANCELLED" in reloaded(window))
    assert not window.has('[name="do"]')
    alice.post("slurm/opn/cancel", {"jobs": ids})


def test_members_of_an_array_are_tiles(window: Browser, alice: Caller) -> None:
    id = submit(alice, "exit $((SLURM_ARRAY_TASK_ID == 2))", array="1-3")
    alice.post("slurm/opn/wait", {"ids": [id], "timeout": 60})
    window.open(f"{window.address.partition('/pages/')[0]}/pages/jobs/{id}")
    assert eventually(lambda: "2\nFAILED" in reloaded(window) and "3\nCOMPLETED" in window.text())
    window.follow(f'a[href$="/pages/jobs/{id}_2"]')
    assert "FAILED" in window.text("h1")


def test_unknown_job_and_wrong_choices_are_told(window: Browser) -> None:
    site = window.address.partition("/pages/")[0]
    window.open(f"{site}/pages/jobs/999999")
    assert "JobNotFound" in window.text(".bad")
    window.open(f"{site}/pages/jobs/..%2F<script>")
    assert "script" in window.text() and window.has(".bad")
    window.open(f"{site}/pages/jobs")
    if window.has('[name="do"]'):
        window.follow('[name="do"][value="hold"]')
        assert "choose at least one job" in window.text()


def test_nodes_are_tiles_that_lead_to_a_node_and_its_jobs(window: Browser, alice: Caller) -> None:
    id = submit(alice, "sleep 600")
    found: list[dict[str, Any]] = []

    def runs() -> bool:
        found[:] = alice.post("slurm/opn/jobs", {"ids": [id]}).json()["output"]
        return bool(found and found[0]["state"] == "RUNNING")

    assert eventually(runs)
    [name] = found[0]["node_names"]
    window.open(f"{window.address.partition('/pages/')[0]}/pages/nodes")
    text = window.text()
    for node in alice.post("slurm/opn/nodes", {}).json()["output"]:
        assert f"{node['name']}\n{node['status']}" in text
    window.follow(f'a[href$="/pages/nodes/{name}"]')
    assert window.text("h1").startswith(f"Node {name}")
    window.follow(f'a[href$="/pages/jobs/{id}"]')
    assert window.text("h1").startswith(f"Job {id}")
    alice.post("slurm/opn/cancel", {"jobs": [id]})
    window.open(f"{window.address.partition('/pages/')[0]}/pages/nodes/none1")
    assert window.has(".bad") and "none1" in window.text(".bad")
