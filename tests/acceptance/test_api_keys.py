"""API keys: made by a person, limited to their scope on every path, ended everywhere at once."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS, only_distributed
from tests.acceptance.secrecy import places_of
from tests.acceptance.test_login import authorized_keys
from tests.acceptance.test_openapi import document
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Distributed, Service, failure
from tests.support.services import MariaDB, eventually

__all__ = ["document"]

READING = {"read_only": True}
ECHO = {"actions": ["utils:echo", "files:read"]}


@pytest.fixture
def person(service: Service) -> Iterator[Caller]:
    """Log in bob, and end all his API keys and the login afterwards."""
    caller = service.log_in(ACCOUNTS["bob"])
    yield caller
    for key in caller.http.get("/api-keys").json()["api_keys"]:
        assert caller.http.delete(f"/api-keys/{key['id']}").json()["key_removed"] is True
    assert caller.post("auth/opn/logout").status_code == 200


def make(person: Caller, **options: Any) -> dict[str, Any]:
    """Make an API key and return its description with the key."""
    answer = person.http.post("/api-keys", json={"name": "ci", **options})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/api-keys/{made['id']}"
    return made


def holder(service: Service, made: dict[str, Any], api: int = 0) -> Caller:
    return service.caller(made["key"], api)


def expiry_of(line: str) -> datetime:
    """Return the end of a key's line; without `Z` it is in the zone of this machine."""
    found = re.search(r'expiry-time="(\d{14})(Z?)"', line)
    assert found is not None, line
    expiry = datetime.strptime(found[1], "%Y%m%d%H%M%S")
    return expiry.replace(tzinfo=UTC) if found[2] else expiry.astimezone()


def refusal(answer: httpx.Response) -> str:
    error = failure(answer, 403)
    assert (error["type"], error["rule"]) == ("Forbidden", "scope")
    return str(error["message"])


def test_key_is_shown_once_and_works_in_both_headers_and_every_process(
    service: Service, person: Caller
) -> None:
    made = make(person, name="nightly build")
    assert re.fullmatch(r"resop_[0-9A-Za-z]{71}", made["key"])
    [listed] = person.http.get("/api-keys").json()["api_keys"]
    assert "key" not in listed and listed["last_used_at"] is None
    assert listed["name"] == "nightly build" and listed["cluster"] == "hpc"
    for api in (0, -1):
        program = holder(service, made, api)
        assert program.run("whoami").json()["output"]["stdout"] == "bob\n"
        other = service.caller(api=api)
        other.http.headers["X-API-Key"] = made["key"]
        assert other.run("whoami").json()["output"]["stdout"] == "bob\n"
        assert other.http.get("/files//etc/hostname").status_code == 200
    both = {"Authorization": f"Bearer {made['key']}", "X-API-Key": made["key"]}
    assert failure(service.caller().http.get("/tasks", headers=both), 401)["type"] == "TokenRefused"
    [listed] = person.http.get("/api-keys").json()["api_keys"]
    assert listed["last_used_at"] is not None


def test_key_has_its_own_line_on_the_cluster_until_its_own_end(
    service: Service, person: Caller, ssh: OpenSSH
) -> None:
    before = authorized_keys(ssh, "bob").read_bytes()
    end = datetime.now(UTC) + timedelta(days=3)
    made = make(person, expires_at=end.isoformat())
    line = authorized_keys(ssh, "bob").read_bytes().removesuffix(before).decode()
    assert " resop:" in line and line.rstrip().endswith(made["id"])
    expiry = expiry_of(line)
    assert abs(expiry - end) < timedelta(minutes=2)
    # It does not end with the login it was made with.
    assert person.post("auth/opn/logout").json()["output"]["key_removed"] is True
    program = holder(service, made)
    assert program.run("whoami").json()["output"]["stdout"] == "bob\n"
    again = service.log_in(ACCOUNTS["bob"])
    person.http.headers["Authorization"] = f"Bearer {again.token}"


def test_deleted_key_is_refused_everywhere_and_its_line_is_gone(
    service: Service, person: Caller, ssh: OpenSSH
) -> None:
    made, kept = make(person), make(person, name="other")
    programs = [holder(service, made, api) for api in (0, -1)]
    for program in programs:
        assert program.run("true").status_code == 200
    answer = person.http.delete(f"/api-keys/{made['id']}")
    assert answer.json() == {"id": made["id"], "key_removed": True, "reason": None}
    assert failure(programs[0].run("true"), 401)["type"] == "TokenRefused"
    # Without the message it would take a minute.
    assert eventually(lambda: programs[1].run("true").status_code == 401, 20)
    assert made["id"].encode() not in authorized_keys(ssh, "bob").read_bytes()
    assert kept["id"].encode() in authorized_keys(ssh, "bob").read_bytes()
    assert holder(service, kept).run("true").status_code == 200
    failure(person.http.delete(f"/api-keys/{made['id']}"), 404)


def test_keys_of_another_user_do_not_exist(service: Service, person: Caller, alice: Caller) -> None:
    made = make(person)
    assert failure(alice.http.delete(f"/api-keys/{made['id']}"), 404)["type"] == "UnknownApiKey"
    assert alice.http.get("/api-keys").json() == {"api_keys": []}
    assert holder(service, made).run("true").status_code == 200


def test_key_makes_no_other_key_and_ends_no_login(service: Service, person: Caller) -> None:
    made = make(person)
    program = holder(service, made)
    for answer in (
        program.http.post("/api-keys", json={"name": "child"}),
        program.http.get("/api-keys"),
        program.http.delete(f"/api-keys/{made['id']}"),
        program.post("auth/opn/logout"),
        program.post("auth/opn/renew"),
        program.http.get("/logins"),
        program.http.delete("/logins"),
        program.http.delete(f"/logins/{made['id']}"),
    ):
        assert failure(answer, 403)["type"] == "NotPermitted"
    assert person.http.get("/tasks").status_code == 200
    cookie = {"Cookie": f"resop={made['key']}"}
    page = program.http.get("/pages/", headers={"Authorization": "", **cookie})
    assert page.status_code == 303 and "/auth/opn/login" in page.headers["location"]


def test_scope_is_checked_for_tasks_batches_dry_runs_and_files(
    service: Service, person: Caller
) -> None:
    program = holder(service, make(person, scope=ECHO))
    said = "scope: this API key is limited to utils:echo, files:read, not core:run"
    assert program.post("utils/cmd/echo", {"input": ["x"]}).status_code == 200
    assert refusal(program.run("id")) == said
    assert refusal(program.post("core/opn/run", {"comand": 1})) == said
    assert refusal(program.run("id", query={"dry_run": "true"})) == said
    batch = {"items": [{"command": "id"}]}
    for query in ({}, {"dry_run": "true"}):
        refusal(program.http.post("/core/opn/run/batch", json=batch, params=query))
    assert program.http.get("/files//etc/hostname").status_code == 200
    refusal(program.http.put("/files/new", content=b"x"))
    refusal(program.http.delete("/files/new"))
    refusal(program.http.put("/folders/new", content=b"x"))


def test_tasks_outside_of_the_scope_do_not_exist(service: Service, person: Caller) -> None:
    program = holder(service, make(person, scope=ECHO))
    other = person.run("echo PATIENT-DATA").json()["task"]
    launched = person.http.post("/core/opn/run/batch", json={"items": [{"command": "id"}]})
    batch = launched.headers["location"]
    own = program.post("utils/cmd/echo", {"input": ["x"]}).json()["task"]
    assert program.task(own)["state"] == "succeeded"
    for path in (f"/tasks/{other}", f"/tasks/{other}/events", batch, f"{batch}/tasks"):
        failure(program.http.get(path), 404)
    for path in (f"{batch}/results.csv", f"{batch}/results.ndjson"):
        failure(program.http.get(path), 404)
    failure(program.http.delete(f"/tasks/{other}"), 404)
    failure(program.http.delete(batch), 404)
    failure(program.http.post(f"{batch}/retry"), 404)
    failure(program.http.patch(f"/tasks/{other}", json={"note": "x"}), 404)
    assert own in program.newest("task") and other not in program.newest("task")
    assert batch.rpartition("/")[2] not in program.newest("batch")
    for name in ("csv", "ndjson"):
        exported = program.http.get(f"/tasks/export.{name}").text
        assert own in exported and other not in exported and "PATIENT-DATA" not in exported
    assert program.http.patch(f"/tasks/{own}", json={"note": "mine"}).status_code == 200


@only_distributed
def test_read_only_key_changes_nothing_on_any_path(
    service: Service, person: Caller, document: Any
) -> None:
    """Ask every path of the OpenAPI document with every method that may change something."""
    program = holder(service, make(person, scope=READING))
    task = person.run("true").json()["task"]
    launched = person.http.post("/core/opn/run/batch", json={"items": [{"command": "true"}]})
    batch = launched.headers["location"].rpartition("/")[2]
    assert program.task(task)["state"] == "succeeded"
    assert program.http.get(f"/batches/{batch}").status_code == 200
    names = {"task_id": task, "batch_id": batch, "path": "x", "key_id": "x", "login_id": "x"}
    names |= {"operator": "core", "kind": "opn", "action": "run", "approval_id": "x"}
    logins = re.compile("/auth/opn/(login|renew|.*token)")
    reading, asked = set(), 0
    for path, methods in document["paths"].items():
        for method in set(methods) - {"get", "head"}:
            if logins.match(path):
                continue
            params = {"path": "x"} if path in ("/files", "/folders") else {}
            answer = program.http.request(method, path.format(**names), json={}, params=params)
            asked += 1
            if answer.status_code == 403:
                continue
            assert method == "post", (method, path, answer.text)
            reading.add(path)
    assert asked > 50
    shared = {path for path in reading if person.http.get(path).json().get("share_for")}
    assert reading == shared and shared


def test_key_works_only_from_its_addresses(service: Service, person: Caller) -> None:
    scope = {"addresses": ["192.0.2.0/24", "2001:db8::/32"]}
    program = holder(service, make(person, scope=scope))
    refusal(program.run("id"))
    refusal(program.http.get("/tasks"))
    for address, status in (("192.0.2.9", 200), ("2001:db8::1", 200), ("198.51.100.1", 403)):
        sent = program.http.get("/tasks", headers={"X-Forwarded-For": address})
        assert sent.status_code == status, address


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "n" * 65}, "name"),
        ({"name": "x", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "expires_at": "2101-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"name": "x", "expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"name": "x", "scope": {"actions": []}}, "scope.actions"),
        ({"name": "x", "scope": {"actions": ["slrm:*"]}}, "scope.actions.0"),
        ({"name": "x", "scope": {"actions": ["[a-z]*"]}}, "scope.actions.0"),
        ({"name": "x", "scope": {"actions": ["*c*o*r*e*"]}}, "scope.actions.0"),
        ({"name": "x", "scope": {"actions": [""]}}, "scope.actions.0"),
        ({"name": "x", "scope": {"actions": ["core:run"] * 51}}, "scope.actions"),
        ({"name": "x", "scope": {"addresses": ["192.0.2.7/24"]}}, "scope.addresses.0"),
        ({"name": "x", "scope": {"addresses": ["anywhere"]}}, "scope.addresses.0"),
        ({"name": "x", "scope": {"readonly": True}}, "scope.readonly"),
        ({"name": "x", "days": 3}, "days"),
    ],
)
@only_distributed
def test_wrong_wish_is_refused_by_name(
    service: Service, person: Caller, options: dict[str, Any], field: str
) -> None:
    error = failure(person.http.post("/api-keys", json=options), 422)
    assert field in {each["field"] for each in error["faults"]}, error
    assert person.http.get("/api-keys").json() == {"api_keys": []}


@only_distributed
def test_neither_database_nor_log_nor_redis_holds_a_key(
    service: Service, person: Caller, mariadb: MariaDB
) -> None:
    made = make(person)
    assert holder(service, made).run("true").status_code == 200
    assert isinstance(service, Distributed)
    assert places_of([made["key"], made["key"][-40:]], service, mariadb.folder) == []


def test_policy_may_deny_making_keys(guarded: Distributed) -> None:
    alice, bob = guarded.log_in(ACCOUNTS["alice"]), guarded.log_in(ACCOUNTS["bob"])
    error = failure(alice.http.post("/api-keys", json={"name": "x"}), 403)
    assert error["message"].endswith("denies auth:create_api_key to the user alice@hpc")
    made = make(bob)
    program = holder(guarded, made)
    error = failure(program.http.put("/files/new", content=b"x"), 403)
    assert error["message"].endswith("denies files:write to the user bob@hpc")
    assert bob.http.delete(f"/api-keys/{made['id']}").json()["key_removed"] is True
