"""Approval by a second person on a running service: asked for, seen, decided, audited."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS
from tests.acceptance.secrecy import places_of
from tests.support.openssh import OpenSSH
from tests.support.ports import HOST
from tests.support.service import (
    Caller,
    Distributed,
    Embedded,
    Service,
    cluster_settings,
    failure,
    run_resop,
)
from tests.support.services import MariaDB, eventually

POLICY = """\
default: allow
rules:
  - allow: [core:run, utils:echo, mysite:ask, template:hello]
    users: [alice@hpc, fiona@hpc]
    approval:
      users: [bob@hpc, alice@hpc]
      groups: tina@hpc
"""
RULE = "policy.yml:3"


@pytest.fixture(scope="module", params=["embedded", "distributed"])
def site(
    request: pytest.FixtureRequest, folder: Path, ssh: OpenSSH, operators: Path
) -> Iterator[Service]:
    """Start a service whose policy requires approval."""
    place = folder / f"approval-{request.param}"
    place.mkdir()
    policy = place / "policy.yml"
    policy.write_text(POLICY)
    settings = {
        **cluster_settings(ssh),
        "OPERATORS_PATH": operators,
        "POLICY_FILE": policy,
    }
    started: Service
    if request.param == "embedded":
        started = Embedded(place / "s", settings)
    else:
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        started = Distributed(place / "s", settings, mariadb.database("approval"))
    with started:
        yield started
    assert not re.search(r"^Traceback", started.log(), re.MULTILINE)


# For tests that need several API processes and workers.
only_distributed = pytest.mark.parametrize("site", ["distributed"], indirect=True)


@pytest.fixture(scope="module")
def alice(site: Service) -> Caller:
    return site.log_in(ACCOUNTS["alice"])


@pytest.fixture(scope="module")
def bob(site: Service) -> Caller:
    return site.log_in(ACCOUNTS["bob"], len(site.ports) - 1)


@pytest.fixture(scope="module")
def tina(site: Service) -> Caller:
    return site.log_in(ACCOUNTS["tina"])


@pytest.fixture
def file() -> str:
    return f"approved-{secrets.token_hex(6)}"


def lines(ssh: OpenSSH, file: str) -> int:
    path = ssh.home("alice") / file
    return len(path.read_text().splitlines()) if path.exists() else 0


def ask(caller: Caller, file: str, **how: Any) -> dict[str, Any]:
    """Ask to append a line to a file; return the task, which waits for approval."""
    answer = caller.run(f"echo once >>{file}; cat {file}", **how)
    assert answer.status_code == 202, answer.text
    task: dict[str, Any] = answer.json()
    assert task["state"] == "pending_approval" and task["success"] is None
    return task


def approve(caller: Caller, approval: str, digest: str) -> httpx.Response:
    return caller.http.post(f"/approvals/{approval}/approve", json={"digest": digest})


def refuse(caller: Caller, approval: str, reason: str = "no") -> httpx.Response:
    return caller.http.post(f"/approvals/{approval}/refuse", json={"reason": reason})


def ids(caller: Caller) -> list[str]:
    answer = caller.http.get("/approvals", params={"limit": 200})
    assert answer.status_code == 200, answer.text
    return [each["approval"] for each in answer.json()["approvals"]]


def audited(site: Service, task: str) -> list[dict[str, Any]]:
    """Return the audit entries of a task, oldest first."""
    done = run_resop(site.folder, "audit", "--task", task, "--format", "ndjson")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()][::-1]


def test_task_waits_is_seen_approved_and_runs_once_with_its_users_rights(
    site: Service, ssh: OpenSSH, alice: Caller, bob: Caller, tina: Caller, file: str
) -> None:
    task = ask(alice, file)
    approval, digest = task["approval"]["approval"], task["approval"]["digest"]
    assert task["approval"]["rule"] == RULE and task["approval"]["state"] == "pending"
    assert approval in ids(bob) and approval in ids(tina) and approval not in ids(alice)
    seen = bob.http.get(f"/approvals/{approval}").json()
    assert (seen["requested_by"], seen["action"]) == ("alice@hpc", "core:run")
    assert (seen["may_decide"], seen["outdated"]) == (True, False)
    [item] = seen["items"]
    assert item["options"] == {"command": f"echo once >>{file}; cat {file}"}
    assert lines(ssh, file) == 0
    own = alice.http.get(f"/approvals/{approval}").json()
    assert (own["may_decide"], own["state"]) == (False, "pending")

    error = failure(approve(alice, approval, digest), 403)
    assert error["type"] == "NotPermitted" and "second person" in error["message"]
    assert failure(approve(bob, approval, "0" * 64), 422)["faults"][0]["field"] == "digest"
    assert alice.task(task["task"])["state"] == "pending_approval"

    decided = approve(bob, approval, digest)
    assert decided.status_code == 200, decided.text
    assert (decided.json()["state"], decided.json()["decided_by"]) == ("approved", "bob@hpc")
    done = alice.task(task["task"], wait=30)
    assert (done["state"], done["output"]["stdout"]) == ("succeeded", "once\n")
    assert done["approval"]["decided_by"] == "bob@hpc" and lines(ssh, file) == 1
    assert approve(bob, approval, digest).json()["decided_at"] == decided.json()["decided_at"]
    for other in (refuse(bob, approval), refuse(tina, approval), approve(tina, approval, digest)):
        assert failure(other, 409)["type"] == "ApprovalDecided"
    assert approval not in ids(bob) and lines(ssh, file) == 1

    entries = audited(site, task["task"])
    asked = next(each for each in entries if each["outcome"] == "accepted")
    assert asked["items"] == {"approval": {"id": approval, "digest": digest, "rule": RULE}}
    decision = next(each for each in entries if each["username"] == "bob" and not each["error"])
    assert decision["options"] == {
        "approval": approval,
        "decision": "approved",
        "digest": digest,
        "requested_by": "alice@hpc",
        "rule": RULE,
    }
    assert run_resop(site.folder, "audit", "verify").returncode == 0


def test_approver_sees_the_command_line(alice: Caller, bob: Caller) -> None:
    answer = alice.post("utils/cmd/echo", {"input": ["a b"]})
    approval = answer.json()["approval"]["approval"]
    [item] = bob.http.get(f"/approvals/{approval}").json()["items"]
    assert item["command"].endswith("echo 'a b'") and item["options"] == {"input": ["a b"]}
    assert refuse(bob, approval).status_code == 200
    dry = alice.post("utils/cmd/echo", {"input": ["a"]}, query={"dry_run": "true"}).json()
    assert dry["approval"].startswith(f"{RULE}: the user bob@hpc or the user alice@hpc or ")


def test_one_approval_is_for_one_task_although_its_action_shares_answers(
    alice: Caller, bob: Caller, file: str
) -> None:
    first, second = (alice.post("mysite/opn/ask", {"key": file}).json() for _ in range(2))
    assert first["task"] != second["task"]
    assert approve(bob, *_keys(first)).status_code == 200
    assert alice.task(first["task"], wait=30)["state"] == "succeeded"
    third = alice.post("mysite/opn/ask", {"key": file}).json()
    for other in (second, third):
        assert alice.task(other["task"])["state"] == "pending_approval"
        assert failure(approve(bob, other["approval"]["approval"], "0" * 64), 422)
        assert refuse(bob, other["approval"]["approval"]).status_code == 200


def test_refused_task_fails_with_the_reason(
    alice: Caller, tina: Caller, ssh: OpenSSH, file: str
) -> None:
    task = ask(alice, file)
    approval = task["approval"]["approval"]
    assert failure(refuse(tina, approval, " "), 422)["faults"][0]["field"] == "reason"
    assert refuse(tina, approval, "not today").status_code == 200
    ended = alice.task(task["task"])
    assert (ended["state"], ended["error"]["type"]) == ("failed", "ApprovalRefused")
    assert ended["error"]["message"] == "tina@hpc has refused to approve this: not today"
    assert refuse(tina, approval, "again").json()["reason"] == "not today"
    assert lines(ssh, file) == 0


def test_who_is_not_named_sees_nothing(site: Service, alice: Caller, file: str) -> None:
    task = ask(alice, file)
    approval = task["approval"]
    fiona = site.log_in(ACCOUNTS["fiona"])
    assert ids(fiona) == []
    for answer in (
        fiona.http.get(f"/approvals/{approval['approval']}"),
        approve(fiona, approval["approval"], approval["digest"]),
        refuse(fiona, approval["approval"]),
        fiona.http.get("/approvals/none"),
    ):
        assert failure(answer, 404)["type"] == "UnknownApproval"
    # fiona's own tasks wait as well, and alice, who also has to ask, may approve them.
    hers = ask(fiona, file)["approval"]
    assert hers["approval"] in ids(alice)
    assert refuse(alice, hers["approval"]).status_code == 200
    key = {"name": "bot", "scope": {}}
    answer = alice.http.post("/api-keys", json=key)
    robot = site.caller(answer.json()["key"])
    for refused in (robot.http.get("/approvals"), refuse(robot, hers["approval"])):
        assert failure(refused, 403)["type"] == "NotPermitted"
    own = ask(robot, file)["approval"]["approval"]
    assert own not in ids(alice) and failure(refuse(alice, own), 403)["type"] == "NotPermitted"
    assert alice.http.delete(f"/api-keys/{answer.json()['id']}").status_code == 200


def test_of_decisions_at_the_same_instant_one_wins(
    site: Service, ssh: OpenSSH, alice: Caller, bob: Caller, tina: Caller, file: str
) -> None:
    tasks = [ask(alice, f"{file}-{number}") for number in range(4)]
    with ThreadPoolExecutor(16) as pool:
        for task in tasks:
            approval, digest = task["approval"]["approval"], task["approval"]["digest"]
            yes = [pool.submit(approve, bob, approval, digest) for _ in range(2)]
            no = [pool.submit(refuse, tina, approval) for _ in range(2)]
            accepted = {each.result().status_code for each in yes}
            denied = {each.result().status_code for each in no}
            assert {frozenset(accepted), frozenset(denied)} == {frozenset({200}), frozenset({409})}
            ended = alice.task(task["task"], wait=30)
            assert ended["state"] == ("succeeded" if accepted == {200} else "failed")
    for number, task in enumerate(tasks):
        ran = alice.task(task["task"])["state"] == "succeeded"
        assert lines(ssh, f"{file}-{number}") == int(ran)


def test_repeated_request_is_the_same_task_and_a_waiting_client_gets_the_result(
    alice: Caller, bob: Caller, ssh: OpenSSH, file: str
) -> None:
    headers = {"Idempotency-Key": file, "Prefer": "wait=30"}
    options = {"command": f"echo once >>{file}; cat {file}"}

    def post() -> httpx.Response:
        return alice.http.post("/core/opn/run", json=options, headers=headers)

    before = set(ids(bob))
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(post) for _ in range(3)]
        assert eventually(lambda: set(ids(bob)) - before)
        [approval] = set(ids(bob)) - before
        digest = bob.http.get(f"/approvals/{approval}").json()["digest"]
        assert approve(bob, approval, digest).status_code == 200
        answers = [each.result() for each in waiting]
    assert {each.status_code for each in answers} == {200}
    assert len({each.json()["task"] for each in answers}) == 1 == lines(ssh, file)


def test_secrets_are_masked_for_the_approver_and_stored_nowhere(
    site: Service, alice: Caller, bob: Caller
) -> None:
    secret = f"marker-{secrets.token_hex(8)}"
    answer = alice.post("template/opn/hello", {"names": ["ada"], "password": secret})
    assert answer.status_code == 202, answer.text
    approval = answer.json()["approval"]
    seen = bob.http.get(f"/approvals/{approval['approval']}")
    assert seen.json()["items"][0]["options"]["password"] == "********"
    assert secret not in seen.text and places_of([secret], site) == []
    assert approve(bob, approval["approval"], approval["digest"]).status_code == 200
    assert alice.task(answer.json()["task"], wait=30)["state"] == "succeeded"
    assert places_of([secret], site) == []


def test_cancelled_task_cannot_be_approved_and_ended_login_says_so(
    site: Service, ssh: OpenSSH, alice: Caller, bob: Caller, file: str
) -> None:
    first = ask(alice, file)
    assert alice.http.delete(f"/tasks/{first['task']}").json()["state"] == "cancelled"
    error = failure(approve(bob, *_keys(first)), 409)
    assert (error["type"], "cancelled" in error["message"]) == ("ApprovalDecided", True)

    stays = site.log_in(ACCOUNTS["alice"])
    kept = ask(stays, file)
    assert stays.post("auth/opn/logout", {"keep_running": True}).status_code == 200
    assert approve(bob, *_keys(kept)).status_code == 200
    assert alice.task(kept["task"], wait=30)["state"] == "succeeded"

    leaves = site.log_in(ACCOUNTS["alice"])
    lost = ask(leaves, file)
    assert leaves.post("auth/opn/logout", {"keep_running": False}).status_code == 200
    error = failure(approve(bob, *_keys(lost)), 409)
    assert error["type"] == "RequesterLoggedOut" and "alice@hpc" in error["message"]
    assert eventually(lambda: alice.task(lost["task"])["state"] == "cancelled")
    assert "the login of this task has ended" in alice.task(lost["task"])["error"]["message"]
    assert lines(ssh, file) == 1


def test_batch_is_approved_as_a_whole(
    site: Service, ssh: OpenSSH, alice: Caller, bob: Caller, file: str
) -> None:
    body = {
        "options": {"command": f"echo {{{{n}}}} >>{file}"},
        "sweep": {"n": {"start": 1, "stop": 25}},
    }
    answer = alice.http.post("/core/opn/run/batch", json=body)
    assert answer.status_code == 202, answer.text
    batch = answer.json()
    approval = batch["approval"]
    assert (batch["state"], batch["counts"]["pending_approval"]) == ("pending_approval", 25)
    seen = bob.http.get(f"/approvals/{approval['approval']}").json()
    assert [each["item"] for each in seen["items"]][:2] == [{"n": 1}, {"n": 2}]
    rest = bob.http.get(f"/approvals/{approval['approval']}", params={"cursor": seen["next"]})
    assert [each["number"] for each in rest.json()["items"]] == list(range(20, 25))
    assert rest.json()["next"] is None and lines(ssh, file) == 0
    assert approve(bob, approval["approval"], approval["digest"]).status_code == 200
    ended = alice.http.get(f"/batches/{batch['batch']}", params={"wait": 60}).json()
    assert (ended["state"], ended["success"], lines(ssh, file)) == ("ended", True, 25)
    assert audited(site, batch["batch"])[0]["items"]["approval"]["digest"] == approval["digest"]

    again = alice.http.post("/core/opn/run/batch", json=body).json()
    assert refuse(bob, again["approval"]["approval"]).status_code == 200
    ended = alice.http.get(f"/batches/{again['batch']}").json()
    assert (ended["state"], ended["counts"]["failed"]) == ("ended", 25)
    retried = alice.http.post(f"/batches/{again['batch']}/retry").json()
    assert (retried["state"], retried["approval"]["state"]) == ("pending_approval", "pending")
    ended = alice.http.delete(f"/batches/{retried['batch']}").json()
    assert (ended["state"], ended["approval"]["state"]) == ("ended", "withdrawn")
    assert retried["approval"]["approval"] not in ids(bob)


def test_pages_show_what_waits_and_take_the_decision(
    site: Service, alice: Caller, bob: Caller, file: str
) -> None:
    def browser(caller: Caller) -> httpx.Client:
        address = f"http://{HOST}:{site.ports[0]}"
        return httpx.Client(base_url=address, cookies={"resop": caller.token}, trust_env=False)

    with browser(alice) as hers, browser(bob) as his:
        form = hers.get("/core/opn/run/submit").text
        guard = re.search(r'name=":guard" value="(\w+)"', form)
        assert guard is not None
        sent = hers.post(
            "/core/opn/run/submit", data={":guard": guard[1], "command": f"echo once >>{file}"}
        )
        assert sent.status_code == 303, sent.text
        assert (
            "Waiting for the approval of a second person" in hers.get(sent.headers["location"]).text
        )
        listed = his.get("/pages/approvals").text
        address = re.findall(r"/pages/approvals/[0-9a-f-]{36}", listed)[-1]
        shown = his.get(address).text
        assert f"echo once &gt;&gt;{file}" in shown and "Requested by alice@hpc" in shown
        fields = dict(re.findall(r'name="(:guard|digest)" value="(\w+)"', shown))
        assert his.post(address, data={**fields, ":guard": "x"}).status_code == 403
        assert his.post(address, data={**fields, "decision": "refuse"}).status_code == 422
        assert "decision" not in re.findall(r'name="(\w+)"', hers.get(address).text)
        answer = his.post(address, data={**fields, "decision": "approve"})
        assert (answer.status_code, answer.headers["location"]) == (303, address)
        assert "Approved by bob@hpc" in his.get(address).text
        task = sent.headers["location"].rpartition("/")[2]
        assert alice.task(task, wait=30)["state"] == "succeeded"
        assert "Approved by bob@hpc" in hers.get(sent.headers["location"]).text


def test_events_tell_that_a_task_waits_and_is_queued(alice: Caller, bob: Caller, file: str) -> None:
    task = ask(alice, file)
    states: list[str] = []
    with alice.http.stream("GET", f"/tasks/{task['task']}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: ") and '"state"' in line:
                states.append(json.loads(line[6:])["state"])
                if states == ["pending_approval"]:
                    assert approve(bob, *_keys(task)).status_code == 200
    assert states == ["pending_approval", "queued", "running", "succeeded"]


@only_distributed
def test_worker_refuses_what_an_api_without_policy_has_queued(
    site: Service, alice: Caller, ssh: OpenSSH, file: str
) -> None:
    assert isinstance(site, Distributed)
    with site.additional_api(POLICY_FILE="") as lax:
        answer = site.caller(alice.token, lax).run(f"echo once >>{file}")
    assert failure(answer, 403)["type"] == "ApprovalRequired"
    assert lines(ssh, file) == 0


@only_distributed
def test_waiting_task_survives_the_restart_of_everything_and_expires(
    site: Service, ssh: OpenSSH, alice: Caller, bob: Caller, file: str
) -> None:
    assert isinstance(site, Distributed)
    with site.additional_api(APPROVAL_HOURS="0.0002") as hasty:
        late = ask(site.caller(alice.token, hasty), file)
    waits = ask(alice, file)
    site.kill_worker(site.workers[0])
    site.redis_server.stop()
    site.redis_server.start()
    assert eventually(lambda: approve(bob, *_keys(waits)).status_code == 200)
    assert eventually(lambda: alice.task(waits["task"])["state"] == "succeeded", 60)
    assert eventually(lambda: alice.task(late["task"])["state"] == "timed_out", 60)
    ended = alice.task(late["task"])
    assert ended["error"]["type"] == "ApprovalExpired" and lines(ssh, file) == 1
    assert failure(approve(bob, *_keys(late)), 409)["type"] == "ApprovalDecided"
    expiry = [each for each in audited(site, late["task"]) if each["error"] == "ApprovalExpired"]
    assert [each["method"] for each in expiry] == ["TASK"]


def _keys(task: dict[str, Any]) -> tuple[str, str]:
    """Return the id of a task's request for approval, and its digest."""
    return task["approval"]["approval"], task["approval"]["digest"]
