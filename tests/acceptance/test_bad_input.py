"""Bad input is always refused with a reason, in the common shape of errors; never with a 500."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import only_embedded
from tests.support.service import Caller, Service, failure

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MEBIBYTE = 1 << 20


def send(caller: Caller, body: bytes | str, kind: str | None = JSON) -> httpx.Response:
    """Send an unmodified body to an action that accepts several types."""
    headers = {"Content-Type": kind} if kind is not None else {}
    return caller.http.post("/core/opn/run", content=body, headers=headers)


def fields(error: dict[str, Any]) -> set[str]:
    return {fault["field"] for fault in error["faults"]}


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("utils/cmd/ecco", "did you mean 'echo'?"),
        ("utlis/cmd/echo", "did you mean 'utils'?"),
        ("core/cmd/run", "did you mean /core/opn/run?"),
        ("utils/opn/echo", "did you mean /utils/cmd/echo?"),
        ("core/opn/rum", "did you mean 'run'?"),
        ("core/opn/%00", "(operations: copy, environment, get_file"),
        ("core/opn/%ff%fe", "(operations: copy, environment, get_file"),
        ("core/opn/run/further", None),
        ("core/exe/run", None),
    ],
)
def test_unknown_action_is_404_with_the_nearest_name(
    alice: Caller, path: str, near: str | None
) -> None:
    for answer in (alice.post(path), alice.http.get(f"/{path}")):
        error = failure(answer, 404)
        assert error["type"] == ("UnknownAction" if near else "UnknownPath")
        assert near is None or near in error["message"]


def test_every_fault_of_the_options_is_listed(alice: Caller) -> None:
    wrong = {"comand": "id", "check": "perhaps", "stdin": 5, "": 1}
    error = failure(alice.post("core/opn/run", wrong), 422)
    assert error["type"] == "InvalidOptions"
    assert {"command", "comand", "check", "stdin"} <= fields(error)
    [undeclared] = [each for each in error["faults"] if each["field"] == "comand"]
    assert undeclared["message"] == (
        "unknown option 'comand'; did you mean 'command'? (options: command, stdin, check)"
    )
    for fault in error["faults"]:
        assert fault["message"] in error["message"]


@only_embedded
@pytest.mark.parametrize(
    ("path", "options", "field"),
    [
        ("core/opn/run", {"command": "echo \x00"}, "command"),
        ("core/opn/run", {"command": ""}, "command"),
        ("core/opn/run", {"command": None}, "command"),
        ("core/opn/run", {"command": ["id"]}, "command"),
        ("core/opn/run", {"command": {"a": "b"}}, "command"),
        ("core/opn/run", {"command": "x" * (MEBIBYTE - 100)}, "command"),
        ("core/opn/run", {"command": "id", "check": 7}, "check"),
        ("utils/cmd/echo", {"input": ["a\x00b"]}, "input.0"),
        ("utils/cmd/echo", {"input": ["x" * 200_000]}, "input.0"),
        ("utils/cmd/echo", {"input": ["'" * 100_000]}, "command line"),
        ("utils/cmd/echo", {"input": "an 'open quote"}, "input"),
        ("utils/cmd/echo", {"input": [[["deep"]]]}, "input.0"),
        ("utils/cmd/mkdir", {"input": []}, "input"),
        ("utils/cmd/mkdir", {"mode": "777; id", "input": ["x"]}, "mode"),
        ("utils/cmd/head", {"lines": "ten"}, "lines"),
        ("utils/cmd/head", {"lines": 1.5}, "lines"),
        ("utils/cmd/head", {"lines": True, "quiet": "x"}, "quiet"),
        ("utils/cmd/id", {"input": ["a", "b"]}, "input"),
        ("utils/cmd/uptime", {"input": ["a"]}, "input"),
        ("template/opn/hello", {"names": ["../../etc"]}, "names.0"),
        ("auth/opn/login", {"username": "", "password": "x"}, "username"),
        ("auth/opn/login", {"username": "a\x00", "password": "x"}, "username"),
        ("auth/opn/login", {"username": "x" * 65, "password": "x"}, "username"),
        ("auth/opn/login", {"username": "alice"}, "password"),
        ("auth/opn/logout", {"all": True}, "all"),
    ],
)
def test_wrong_option_is_422_with_its_name(
    alice: Caller, path: str, options: dict[str, Any], field: str
) -> None:
    answer = alice.post(path, options)
    error = failure(answer, 422)
    assert error["type"] == "InvalidOptions" and error["retryable"] is False
    assert field in fields(error)
    assert len(answer.content) < 2000  # the input is not sent back


@pytest.mark.parametrize(
    "username", ["a\x01b", "\u00aa\u0378", "..", "-oProxyCommand=id", "a b", "root\n", "🚀", "%s"]
)
def test_odd_user_name_is_refused_before_a_cluster_is_asked(
    service: Service, username: str
) -> None:
    answer = service.caller().login(username, "\x01\r\n🚀")
    assert fields(failure(answer, 422)) == {"username"}


@only_embedded
@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'["id"]',
        b'"id"',
        b"5",
        b"null",
        b"true",
        b"{",
        b'{"command": "id"',
        b'{"command": "id"}}',
        b'{"command": "id",}',
        b"{'command': 'id'}",
        b'{"command": NaN}',
        b'{"check": Infinity, "command": "id"}',
        b'{"command": "id", "check": -Infinity}',
        b'{"command": "id", "check": 1e999}',
        b'{"command": "id", "check": ' + b"9" * 5000 + b"}",
        b'{"command": "id", "stdin": ' + b"9" * 100_000 + b"}",
        b'{"command": "\xff\xfe"}',
        b'\xff\xfe{\x00"\x00',
        '{"command": "id"}'.encode("utf-16"),
        b'{"command": "\\ud800"}',
        b'{"command": "\\x41"}',
        b'{"command": "a\nb"}',
        b'{"command": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b'{"command": ' + b'{"a":' * 30 + b"1" + b"}" * 30 + b"}",
        json.dumps({f"key{number}": number for number in range(10_000)}).encode(),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_body_other_than_a_json_object_of_options_is_422(alice: Caller, body: bytes) -> None:
    answer = send(alice, body)
    assert failure(answer, 422)["type"] == "InvalidOptions"
    assert len(answer.content) < 2000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("utils/cmd/head", b'{"lines": ' + b"9" * 5000 + b"}"),
        ("utils/cmd/head", b'{"lines": "' + b"9" * 5000 + b'"}'),
        ("utils/cmd/head", b'{"lines": 1e400}'),
        ("utils/cmd/head", b'{"lines": -1e25}'),
        ("utils/cmd/echo", b'{"input": [' + b"9" * 5000 + b"]}"),
        ("utils/cmd/echo", b'{"input": ' + b"9" * 5000 + b"}"),
        ("utils/cmd/find", b'{"max_depth": 1e308}'),
        ("mysite/opn/trail", b'{"file": "x", "steps": ' + b"9" * 5000 + b"}"),
    ],
    ids=lambda value: value[:14] if isinstance(value, str) else repr(value[-14:]),
)
def test_huge_number_is_refused_or_passed_on(alice: Caller, path: str, body: bytes) -> None:
    answer = alice.http.post(f"/{path}", content=body, headers={"Content-Type": JSON})
    if answer.status_code != 200:
        error = failure(answer, 424 if answer.status_code == 424 else 422)
        assert error["type"] in ("InvalidOptions", "CommandFailed")


@pytest.mark.parametrize("seconds", ["1e400", "9" * 400, '"nan"', '"inf"', '"-Infinity"'])
def test_number_that_json_cannot_carry_is_422(alice: Caller, seconds: str) -> None:
    body = f'{{"file": "x", "steps": 0, "seconds": {seconds}}}'
    answer = alice.http.post("/mysite/opn/trail", content=body, headers={"Content-Type": JSON})
    assert "seconds" in fields(failure(answer, 422))


@only_embedded
@pytest.mark.parametrize(
    "body",
    [
        b"command",
        b"command=id&&",
        b"command=%ff",
        b"command=\xff",
        b"&".join(b"key%d=1" % number for number in range(10_000)),
        b"command=id&command=id",
        b"command=%00",
        b"=",
        b"command[]=id",
        b"x" * (MEBIBYTE - 1),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_broken_form_is_422(alice: Caller, body: bytes) -> None:
    answer = send(alice, body, FORM)
    assert failure(answer, 422)["type"] == "InvalidOptions"
    assert len(answer.content) < 2000


@only_embedded
@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "json", "x" * 5000]
)
def test_body_of_another_type_is_415(alice: Caller, kind: str) -> None:
    answer = send(alice, b'{"command": "id"}', kind)
    assert failure(answer, 415)["type"] == "UnsupportedBody"


@pytest.mark.parametrize(
    "kind", [None, JSON, "application/json; charset=utf-8", "APPLICATION/JSON"]
)
def test_json_content_types_are_accepted(alice: Caller, kind: str | None) -> None:
    assert send(alice, b' {"command": "echo 1"} \n', kind).json()["output"]["stdout"] == "1\n"


def test_body_of_one_mebibyte_is_read_and_larger_is_413(alice: Caller) -> None:
    def body(size: int) -> bytes:
        rest = b'{"command": "wc -c", "stdin": "'
        return rest + b"x" * (size - len(rest) - 2) + b'"}'

    sent = send(alice, body(MEBIBYTE))
    assert sent.status_code == 200
    assert int(sent.json()["output"]["stdout"]) == MEBIBYTE - 33
    assert failure(send(alice, body(MEBIBYTE + 1)), 413)["type"] == "BodyTooLarge"

    def chunks() -> Iterator[bytes]:  # chunked, so without Content-Length
        yield from [b"x" * 65_536] * 17

    chunked = alice.http.post("/core/opn/run", content=chunks(), headers={"Content-Type": JSON})
    assert failure(chunked, 413)["type"] == "BodyTooLarge"


@pytest.mark.parametrize(
    "query",
    [
        "timeout=0",
        "timeout=-1",
        "timeout=nan",
        "timeout=inf",
        "timeout=1e999",
        "timeout=soon",
        "timeout=",
        "dry_run=perhaps",
        "tag=",
        "tag=" + "x" * 65,
        "&".join(f"tag={number}" for number in range(21)),
    ],
)
def test_wrong_query_of_an_action_is_422(alice: Caller, query: str) -> None:
    answer = alice.http.post(f"/core/opn/run?{query}", json={"command": "true"})
    assert fields(failure(answer, 422)) & {"timeout", "dry_run", "tag", "tag.0"}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=all", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("state=done", "state"),
        ("cursor=" + "x" * 37, "cursor"),
    ],
)
def test_wrong_query_of_the_task_list_is_422(alice: Caller, query: str, field: str) -> None:
    assert field in fields(failure(alice.http.get(f"/tasks?{query}"), 422))


@pytest.mark.parametrize(
    "query",
    ["cursor=%00", "cursor=%ff", "cursor='--", "operator=%00", "action=%F0%9F%9A%80", "operator="],
)
def test_odd_filters_cause_no_error(alice: Caller, query: str) -> None:
    answer = alice.http.get(f"/tasks?{query}")
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"tasks", "next"}


@pytest.mark.parametrize("task", ["x", "%00", "%ff", "🚀", "x" * 2000, "'; DROP TABLE task; --"])
def test_unknown_task_is_404(alice: Caller, task: str) -> None:
    assert failure(alice.http.get(f"/tasks/{task}"), 404)["type"] == "UnknownTask"


@pytest.mark.parametrize("wait", ["-1", "601", "nan", "inf", "long", ""])
def test_wrong_wait_is_422(alice: Caller, wait: str) -> None:
    assert "wait" in fields(failure(alice.http.get(f"/tasks/x?wait={wait}"), 422))


@pytest.mark.parametrize(
    ("prefer", "status"),
    [
        ("", 200),
        ("wait", 200),
        ("wait=", 200),
        ("wait=-1", 200),
        ("wait=soon", 200),
        ("wait=1.5", 200),
        ("wait=\u00b2".encode(), 200),
        (";;;,,,===", 200),
        ("handling=lenient; foo", 200),
        ("return=minimal, wait=20", 200),
        ("wait=" + "9" * 400, 200),
        ('wait="20"', 200),
        ("x" * 5000, 200),
        (b"\xff\xfe", 200),
        ("RESPOND-ASYNC", 202),
        ("foo, respond-async; bar", 202),
        ("wait=0", 202),
    ],
)
def test_odd_preferences_are_applied_or_ignored(
    alice: Caller, prefer: str | bytes, status: int
) -> None:
    headers = {b"Prefer": prefer.encode() if isinstance(prefer, str) else prefer}
    answer = alice.http.post("/core/opn/run", json={"command": "true"}, headers=headers)
    assert answer.status_code == status, answer.text


@only_embedded
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/core/opn/run"),
        ("PATCH", "/utils/cmd/echo"),
        ("DELETE", "/utils/cmd/echo"),
        ("POST", "/tasks"),
        ("POST", "/operators"),
        ("POST", "/core"),
        ("POST", "/"),
        ("DELETE", "/"),
        ("PUT", "/health/live"),
        ("TRACE", "/core/opn/run"),
    ],
)
def test_wrong_method_is_405_with_the_allowed_methods(
    alice: Caller, method: str, path: str
) -> None:
    answer = alice.http.request(method, path)
    assert failure(answer, 405)["type"] == "MethodNotAllowed"
    assert set(answer.headers["allow"].split(", ")) <= {"GET", "HEAD", "POST", "OPTIONS"}
    asked = alice.http.options(path)
    assert (asked.status_code, asked.headers["allow"]) == (204, answer.headers["allow"])


def test_request_id_of_a_client_is_used_only_if_harmless(alice: Caller) -> None:
    def returned(given: bytes) -> str:
        headers = {b"X-Request-Id": given}
        return alice.http.get("/", headers=headers).headers["x-request-id"]

    assert returned(b"my-id.1") == "my-id.1"
    for bad in (b"x y", b"\xff", b"x" * 65, b""):
        assert returned(bad) not in (bad.decode("latin-1"), "")
