"""Requests of the client: sent, repeated where that is safe, and returned."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import pytest

from resop_client import LoginStore, Resop, errors
from resop_client._sync import connection, tasks
from tests.unit.client.fake_service import URL, FakeService, answer, failure

DONE = answer({"success": True, "task": "1", "output": [{"name": "n1", "gpus": {"a100": 4}}]})
TASK = {"task": "1", "action": "slurm:nodes", "state": "running", "output": None, "error": None}


@pytest.fixture
def store(tmp_path: Path) -> LoginStore:
    return LoginStore(tmp_path / "logins")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    for module in (connection, tasks):
        monkeypatch.setattr(module, "sleep", pauses.append)
    monkeypatch.delenv("RESOP_URL", raising=False)
    monkeypatch.delenv("RESOP_TOKEN", raising=False)
    return pauses


def test_an_action_is_a_method_and_its_output_has_attributes(store: LoginStore) -> None:
    service = FakeService(DONE)
    (node,) = service.client(store).slurm.nodes(partitions=["gpu"], cluster=None)
    assert (node.name, node.gpus.a100, node["name"]) == ("n1", 4, "n1")
    with pytest.raises(AttributeError, match=r"no member 'nane' \(members: name, gpus\)"):
        _ = node.nane
    (request,) = service.requests
    assert (request.method, request.url.path) == ("POST", "/slurm/opn/nodes")
    assert service.bodies() == [{"partitions": ["gpu"]}]
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["idempotency-key"] and request.headers["prefer"].startswith("wait=")


def test_arguments_of_a_command_and_its_preferences(store: LoginStore) -> None:
    service = FakeService(DONE, DONE)
    hpc = service.client(store)
    hpc.utils.ls("/a", "b", long=True)
    hpc.run("utils:ls", tags=["x", "y"], task_timeout=5, options={"no-group": True})
    assert service.bodies() == [{"input": ["/a", "b"], "long": True}, {"no-group": True}]
    assert str(service.requests[1].url.query, "ascii") == "tag=x&tag=y&timeout=5"


def test_an_unknown_action_is_told_with_the_nearest(store: LoginStore) -> None:
    hpc = FakeService().client(store)
    for call, message in {
        "slrum.nodes": "there is no operator 'slrum'; did you mean 'slurm'?",
        "slurm.node": "operator 'slurm' has no action 'node'; did you mean 'nodes'?",
        "core.zzz": r"operator 'core' has no action 'zzz' \(run\)",
    }.items():
        with pytest.raises(errors.UnknownAction, match=message):
            hpc.run(call)


def test_a_task_that_lasts_is_waited_for(store: LoginStore) -> None:
    ended = {**TASK, "state": "succeeded", "output": "x"}
    service = FakeService(answer(TASK, 202), answer(TASK), answer(ended))
    assert service.client(store).slurm.nodes() == "x"
    assert [each.url.path for each in service.requests[1:]] == ["/tasks/1", "/tasks/1"]
    failed = {**TASK, "state": "failed", "error": {"type": "JobNotFound", "message": "no job 7"}}
    service = FakeService(answer(TASK, 202), answer(failed))
    task = service.client(store).start("slurm.nodes")
    assert not task.ended
    with pytest.raises(errors.JobNotFound, match="no job 7") as caught:
        task.result()
    assert caught.value.task == "1"
    service = FakeService(answer(TASK, 202))
    with pytest.raises(TimeoutError, match="still running"):
        service.client(store).start("slurm.nodes").result(timeout=0)


def test_a_cut_request_is_repeated_with_the_same_key(store: LoginStore) -> None:
    cuts = [httpx2.ReadError("cut"), httpx2.RemoteProtocolError("cut"), httpx2.ReadTimeout("late")]
    service = FakeService(*cuts, failure("QueueUnavailable", 503), DONE)
    assert service.client(store).slurm.nodes()
    keys = {each.headers["idempotency-key"] for each in service.requests}
    assert len(service.requests) == 5 and len(keys) == 1


def test_the_service_says_when_to_try_again(store: LoginStore, no_pauses: list[float]) -> None:
    busy = answer({"error": {"type": "LimitReached", "message": "x"}}, 429, retry_after="3")
    assert FakeService(busy, DONE).client(store).slurm.nodes()
    assert no_pauses == [3.0]
    long = answer({"error": {"type": "LimitReached", "message": "later"}}, 429, retry_after="600")
    with pytest.raises(errors.LimitReached, match="later"):
        FakeService(long).client(store).slurm.nodes()


def test_what_is_not_safe_is_not_repeated(store: LoginStore) -> None:
    service = FakeService(answer({"service": "resop", "version": "0.1.0"}), httpx2.ReadError("cut"))
    with pytest.raises(errors.ConnectionFailed, match=f"the connection to {URL} was lost: cut"):
        service.client(store).login("ada", "pw")
    assert len(service.requests) == 2


def test_no_network_is_one_line_at_once(store: LoginStore, no_pauses: list[float]) -> None:
    hpc = FakeService(httpx2.ConnectError("[Errno 111]\nConnection refused")).client(store)
    with pytest.raises(errors.ConnectionFailed) as caught:
        hpc.service()
    assert str(caught.value) == f"cannot reach {URL}: [Errno 111] Connection refused"
    assert caught.value.retryable and no_pauses == []


def test_a_service_that_went_away_is_waited_for(store: LoginStore) -> None:
    hpc = FakeService(DONE, httpx2.ConnectError("x"), httpx2.ConnectError("x"), DONE).client(store)
    assert hpc.slurm.nodes() and hpc.slurm.nodes()
    hpc = FakeService(DONE, httpx2.ConnectError("x")).client(store, seconds=0)
    assert hpc.slurm.nodes()
    with pytest.raises(errors.ConnectionFailed):
        hpc.slurm.nodes()


def test_errors_have_the_types_and_words_of_the_service(store: LoginStore) -> None:
    fault = {"field": "X0", "message": "must be a number"}
    service = FakeService(
        failure("InvalidOptions", 422, faults=[fault]),
        failure("CommandFailed", 424, exit_code=2, stderr="no", needs_repair=["rm x"], undone=[]),
        failure("NewInTheNextVersion", 424),
        failure("NewInTheNextVersion", 500),
        httpx2.Response(502, text="<html>nginx</html>"),
        httpx2.Response(200, text="<html>"),
    )
    hpc = service.client(store)
    with pytest.raises(errors.InvalidOptions, match="this is InvalidOptions") as invalid:
        hpc.slurm.nodes()
    assert invalid.value.faults == [fault] and invalid.value.status == 422
    with pytest.raises(errors.CommandFailed) as failed:
        hpc.slurm.nodes()
    assert (failed.value.exit_code, failed.value.stderr) == (2, "no")
    assert failed.value.needs_repair == ["rm x"] and not failed.value.retryable
    for kind in (errors.ActionError, errors.ServiceFault):
        with pytest.raises(kind) as unknown:
            hpc.slurm.nodes()
        assert type(unknown.value) is kind and unknown.value.type == "NewInTheNextVersion"
    for _ in range(2):
        with pytest.raises(errors.UnexpectedAnswer, match=r"proxy|address"):
            hpc.slurm.nodes()


def test_another_version_or_another_service_is_told(store: LoginStore) -> None:
    for body, kind, message in (
        ({"service": "resop", "version": "0.0.9"}, errors.VersionMismatch, "needs 0.1 or newer"),
        ({"service": "resop", "version": "1.2.0"}, errors.VersionMismatch, "pip install --upgrade"),
        ({"service": "resop"}, errors.VersionMismatch, "needs 0.1 or newer"),
        ({"hello": "world"}, errors.UnexpectedAnswer, "another service"),
        (["x"], errors.UnexpectedAnswer, "another service"),
    ):
        with pytest.raises(kind, match=message):
            FakeService(answer(body)).client(store).login("ada", "pw")


def test_a_login_is_kept_and_used_by_the_next_client(store: LoginStore) -> None:
    output = {
        "token": "new",
        "username": "ada",
        "cluster": "hpc",
        "expires_at": "2999-01-01T00:00Z",
    }
    welcome = answer({"service": "resop", "version": "0.1.0"})
    service = FakeService(welcome, answer({"output": output}), DONE)
    http = httpx2.Client(transport=httpx2.MockTransport(service._handle))
    hpc = Resop(URL, store=store, http=http).login("ada", "pw", otp="123")
    assert service.bodies() == [{"username": "ada", "password": "pw", "otp": "123"}]
    assert hpc.username == "ada" and "ada@hpc" in repr(hpc)
    again = Resop(store=store, http=http)
    assert again.url == URL and again.slurm.nodes()
    assert service.requests[-1].headers["authorization"] == "Bearer new"
    with pytest.raises(errors.NotLoggedIn, match="no service is known"):
        Resop(profile="other", store=store)
    with pytest.raises(errors.NotLoggedIn, match=r"you are not logged in to https://x\.example"):
        Resop("x.example", store=store, http=http).slurm.nodes()


def test_a_token_is_renewed_before_its_end(store: LoginStore) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    output = {
        "token": "old",
        "username": "ada",
        "cluster": "hpc",
        "expires_at": soon,
        "login_expires_at": "2999-01-01T00:00:00Z",
    }
    renewed = {**output, "token": "new", "expires_at": "2999-01-01T00:00:00Z"}
    welcome = answer({"service": "resop", "version": "0.1.0"})
    service = FakeService(welcome, answer({"output": output}), answer({"output": renewed}), DONE)
    http = httpx2.Client(transport=httpx2.MockTransport(service._handle))
    Resop(URL, store=store, http=http).login("ada", "pw")
    again = Resop(store=store, http=http)
    again.run("/slurm/opn/nodes")
    sent = [(each.url.path, each.headers.get("authorization")) for each in service.requests[2:]]
    assert sent == [("/auth/opn/renew", "Bearer old"), ("/slurm/opn/nodes", "Bearer new")]
    kept = store.load("default")
    assert kept is not None and kept.token == "new"
    assert not kept.ends_soon()
