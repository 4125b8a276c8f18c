"""Another user's tasks, batches, logins and files answer every verb like missing ones."""

import re
import secrets
from typing import Any

import httpx

from tests.acceptance.test_batches import get_batch, launch_batch
from tests.acceptance.test_openapi import document
from tests.support.ids import next_id
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Service, failure
from tests.support.services import eventually

__all__ = ["document"]

VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
QUERIES: list[dict[str, str]] = [{}, {"wait": "1"}, {"state": "lost"}]
BODIES: dict[str, Any] = {"PATCH": {"note": "mine"}, "POST": {"input": "x"}, "PUT": {}}
IDS = {"task_id", "batch_id", "login_id", "key_id"}
NO_IDS = {"operator", "kind", "action"}  # path parameters of a new batch
ELSEWHERE = {"approval_id"}  # test_approvals.py: the policy of this service asks for none
ON_THE_CLUSTER = {"path"}
VARYING_HEADERS = {"date", "x-request-id", "content-length"}


def send(caller: Caller, verb: str, path: str, **query: str) -> httpx.Response:
    return caller.http.request(verb, path, params=query, json=BODIES.get(verb))


def is_known(verb: str, declared: Any) -> bool:
    """Return True if a path has a verb; HEAD is wherever GET is."""
    return ("get" if verb == "HEAD" else verb.lower()) in declared


def comparable(answer: httpx.Response, name: str) -> tuple[object, ...]:
    """Return all parts of an answer but the requested name and values that differ every time."""
    headers = {key: value for key, value in answer.headers.items() if key not in VARYING_HEADERS}
    text = answer.text.replace(name, "NAME").replace(answer.headers["x-request-id"], "REQUEST")
    return answer.status_code, headers, text


def current_login(caller: Caller) -> str:
    logins = caller.http.get("/logins").json()["logins"]
    return next(str(each["id"]) for each in logins if each["current"])


def test_tasks_and_batches_of_another_user_answer_like_missing_ones(
    alice: Caller, bob: Caller, document: Any
) -> None:
    mark = f"mark-{secrets.token_hex(6)}"
    batch = {"items": [{"command": f"exit 1; {mark}"}]}
    ended = {
        "task_id": alice.run(f"echo {mark}").json()["task"],
        "batch_id": launch_batch(alice, batch),
        "login_id": current_login(alice),
        "key_id": alice.http.post("/api-keys", json={"name": mark}).json()["id"],
    }
    assert get_batch(alice, ended["batch_id"], wait=20)["counts"]["failed"] == 1
    batch = {"items": [{"command": f"sleep 600; {mark}"}] * 3}
    running = {
        "task_id": alice.begin("core/opn/run", {"command": f"sleep 600; {mark}"}),
        "batch_id": launch_batch(alice, batch),
        "login_id": current_login(alice),
        "key_id": ended["key_id"],
    }
    # From its first step on the task does not change.
    assert eventually(lambda: alice.task(running["task_id"])["steps"])

    def state() -> list[str]:
        parts = [alice.http.get(f"/tasks/{each['task_id']}").text for each in (ended, running)]
        shown = [get_batch(alice, each["batch_id"]) for each in (ended, running)]
        counted = [(each["counts"]["failed"], each["cancel_asked_at"]) for each in shown]
        listed = [len(bob.http.get(address).json()[address[1:]]) for address in lists]
        return [re.sub(r'"(state|started_at)": ?"?[^",]*', "", each) for each in parts] + [
            str(counted),
            str(listed),
        ]

    lists = ("/tasks", "/batches")
    before, asked = state(), 0
    try:
        for path, declared in document["paths"].items():
            names = set(re.findall(r"{(\w+)}", path))
            assert names <= IDS | NO_IDS | ON_THE_CLUSTER | ELSEWHERE, f"{path}: whose is it?"
            if not names & IDS:
                continue
            [name] = names
            for verb in VERBS:
                for query in QUERIES:
                    nobodys = next_id()
                    none = comparable(
                        send(bob, verb, path.replace(f"{{{name}}}", nobodys), **query), nobodys
                    )
                    for theirs in (ended[name], running[name]):
                        answer = send(bob, verb, path.replace(f"{{{name}}}", theirs), **query)
                        assert comparable(answer, theirs) == none, (verb, path, query)
                        assert mark not in answer.text
                        known = is_known(verb, declared)
                        allowed = {404, 422} if known and query else {404} if known else {404, 405}
                        allowed = {204} if verb == "OPTIONS" else allowed
                        assert answer.status_code in allowed, (verb, path, answer.text)
                        asked += 1
        assert asked > 300
        assert state() == before
    finally:
        for address in (f"/tasks/{running['task_id']}", f"/batches/{running['batch_id']}"):
            alice.http.delete(address, params={"wait": 20})


def test_files_of_another_user_answer_like_missing_ones(
    alice: Caller, bob: Caller, ssh: OpenSSH, service: Service, document: Any
) -> None:
    name, none = "held", "missing"
    assert alice.run(f"mkdir -p private; echo 42 >private/{name}").status_code == 200
    assert bob.run("ln -sfn /home/alice/private private").status_code == 200
    for kind in ("files", "folders"):
        declared = document["paths"][f"/{kind}/{{path}}"]
        for verb in VERBS:
            for place in ("%2Fhome/alice/private", "private"):
                answers = [
                    comparable(send(bob, verb, f"/{kind}/{place}/{each}"), each)
                    for each in (name, none)
                ]
                assert answers[0] == answers[1], (kind, verb)
                expected = 404 if is_known(verb, declared) else 405
                assert answers[0][0] == (204 if verb == "OPTIONS" else expected), (kind, verb)
    for verb, query in (
        ("GET", {"checksum": "sha256"}),
        ("HEAD", {"upload": "abcdefgh"}),
        ("DELETE", {"upload": "abcdefgh"}),
    ):
        path = f"/files/%2Fhome/alice/private/{name}"
        assert send(bob, verb, path, **query).status_code == 404, (verb, query)
    assert (ssh.home("alice") / "private" / name).read_text() == "42\n"
    assert bob.http.delete("/files/private").status_code == 204, "the link is his own"
    assert not (ssh.home("bob") / "private").is_symlink()
    failure(service.caller().http.get(f"/files/%2Fhome/alice/private/{name}"), 401)
