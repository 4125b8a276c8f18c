"""The main job: actions run on the login node exactly as requested, and are answered as JSON."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.acceptance.conftest import ACCOUNTS, only_distributed
from tests.support.openssh import OpenSSH
from tests.support.service import Caller, Service, failure

HOSTILE = [
    *("; id", "$(id)", "`id`", "a\nb", "'", '"', "-rf", "🚀", "&& id", "| id", "> file", "#x"),
    *("\\", "\\n", "!", "!!", "*", "?", "~", "$HOME", "${HOME}", "%s%n", "%self", "=ls", "{a,b}"),
    *("[a-z]", "^", "\t", " ", "", "\x01\x7f", "\r", "\r\n", "é", "--", "-n", "-e", "'; id; '"),
    *("$(id)'`id`'\"$(id)\"", "\u202e\u2028", "x" * 5000),
]
WORST = ["; id", "$(id)", "`id`", "a\nb", "'", '"', "-rf", "🚀", "\\", "!", "\r", "", "-n"]
SHELLS = ["alice", "tina", "fiona"]  # bash, tcsh, fish


@pytest.fixture(scope="session")
def users(service: Service) -> dict[str, Caller]:
    return {name: service.log_in(ACCOUNTS[name]) for name in SHELLS}


@pytest.fixture(params=SHELLS)
def user(request: pytest.FixtureRequest, users: dict[str, Caller]) -> Caller:
    """Return a caller for a user of each login shell."""
    return users[request.param]


def milliseconds(answer: httpx.Response) -> Any:
    seconds = answer.json()["seconds"]
    assert isinstance(seconds, float) and 0 < seconds < 30
    return seconds


def test_line_with_a_pipe_is_answered_in_the_shape_of_an_operation(alice: Caller) -> None:
    answer = alice.run("printf 'b\\na\\n' | sort; echo oops >&2")
    body = answer.json()
    assert answer.status_code == 200
    assert list(body) == ["success", "task", "operation", "output", "log", "seconds"]
    assert body == {
        "success": True,
        "task": answer.headers["location"].removeprefix("/tasks/"),
        "operation": "core:run",
        "output": {"stdout": "a\nb\n", "stderr": "oops\n", "exit_code": 0},
        "log": [],
        "seconds": milliseconds(answer),
    }


def test_command_is_answered_in_the_shape_of_a_command(alice: Caller) -> None:
    answer = alice.post("utils/cmd/id", {"user": True, "name": True})
    assert answer.status_code == 200
    assert list(answer.json()) == [
        *("success", "task", "command", "output", "stderr", "exit_code", "seconds")
    ]
    assert answer.json() == {
        "success": True,
        "task": answer.headers["location"].removeprefix("/tasks/"),
        "command": "id --user --name",
        "output": "alice\n",
        "stderr": "",
        "exit_code": 0,
        "seconds": milliseconds(answer),
    }


def test_script_runs_in_its_interpreter(alice: Caller) -> None:
    script = "#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:], sys.stdin.read() == '')\n"
    answer = alice.post("core/opn/script", {"script": script, "arguments": ["; id", "-x"]})
    assert answer.json()["output"]["stdout"] == "['; id', '-x'] True\n"


def test_hostile_arguments_are_echoed_literally_whatever_the_login_shell(user: Caller) -> None:
    together = user.post("utils/cmd/echo", {"input": HOSTILE})
    assert together.status_code == 200, together.text
    assert together.json()["output"] == " ".join(HOSTILE) + "\n"

    def echoed(word: str) -> str:
        answer = user.post("utils/cmd/echo", {"input": [word]})
        assert answer.status_code == 200, (word, answer.text)
        return str(answer.json()["output"])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(echoed, WORST)) == [f"{word}\n" for word in WORST]


def test_form_fields_are_equivalent_to_json(user: Caller) -> None:
    def sent(body: str) -> Any:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = user.http.post("/utils/cmd/echo", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["output"]

    words = [word for word in HOSTILE if word]
    assert sent("&".join(f"input={quote(word)}" for word in words)) == " ".join(words) + "\n"
    assert sent("input=one+word%2B") == "one word+\n"
    # A single text is split as a shell would split it.
    assert sent("input='one word'+two") == "one word two\n"
    assert sent("input=h\u00e9 \U0001f680") == "h\u00e9 \U0001f680\n"  # as curl -d sends it


def test_form_fields_are_read_as_the_types_of_the_options(alice: Caller) -> None:
    def sent(path: str, fields: dict[str, Any]) -> dict[str, Any]:
        answer = alice.http.post(path, data=fields)
        assert answer.status_code in (200, 424), answer.text
        body: dict[str, Any] = answer.json()
        return body

    assert sent("/utils/cmd/head", {"lines": "2", "stdin": "1\n2\n3\n"})["output"] == "1\n2\n"
    assert sent("/utils/cmd/id", {"user": "true", "name": "on", "input": ""})["output"] == "alice\n"
    answer = sent("/core/opn/run", {"command": "echo $((6*7)); exit 3", "check": "false"})
    assert answer["output"] == {"stdout": "42\n", "stderr": "", "exit_code": 3}


def test_standard_input_arrives_completely_and_is_closed_without_input(user: Caller) -> None:
    text = "\x00\r\n'$(id)' é🚀 no newline at the end" * 20_000
    answer = user.post("core/opn/run", {"command": "wc -c", "stdin": text})
    assert answer.json()["output"]["stdout"].strip() == str(len(text.encode()))
    given = user.post("utils/cmd/cat", {"stdin": "\x01é\n"})
    assert given.json()["output"] == "\x01é\n"
    assert user.post("utils/cmd/cat", query={"timeout": 10}).json()["output"] == ""


def test_names_are_found_with_any_case_and_dashes(alice: Caller) -> None:
    for path in ("Core/opn/RUN", "CORE/opn/r-u_n"):
        assert alice.post(path, {"command": "echo x"}).json()["operation"] == "core:run"


def test_failing_command_is_424_with_its_output_and_step(alice: Caller) -> None:
    answer = alice.post("utils/cmd/cat", {"input": ["/nothing", "-"], "stdin": "kept"})
    error = failure(answer, 424)
    body = answer.json()
    assert list(body) == [
        *("success", "task", "command", "output", "stderr", "exit_code", "seconds", "error")
    ]
    assert (body["output"], body["exit_code"]) == ("kept", 1)
    said = "cat: /nothing: No such file or directory"
    assert error == {
        "type": "CommandFailed",
        "message": f"{said} (exit code 1)",
        "retryable": False,
        "step": {"command": "cat -- /nothing -", "exit_code": 1, "stderr": said},
        "undone": [],
        "needs_repair": [],
    }


def test_failing_step_of_an_operation_is_424_with_that_step(alice: Caller) -> None:
    answer = alice.run("echo no >&2; exit 7")
    error = failure(answer, 424)
    assert list(answer.json()) == [
        *("success", "task", "operation", "output", "log", "seconds", "error")
    ]
    assert answer.json()["output"] is None
    assert error["type"] == "CommandFailed"
    step = {"command": "echo no >&2; exit 7", "exit_code": 7, "stderr": "no"}
    assert error["step"] == step and error["undone"] == error["needs_repair"] == []


def test_step_ended_by_a_signal_reports_128_and_its_number(user: Caller) -> None:
    answer = user.post("core/opn/run", {"command": "sh -c 'kill -9 $$'", "check": False})
    assert answer.json()["output"]["exit_code"] == 137


@only_distributed  # the shell matters here, not the profile
def test_steps_run_over_the_runner(user: Caller) -> None:
    answer = user.post("core/opn/run", {"command": "ps x -o args="})
    assert "python3 -I -S" in answer.json()["output"]["stdout"]


@only_distributed  # the shell matters here, not the profile
def test_time_limit_is_504_and_the_remote_processes_are_gone(user: Caller, ssh: OpenSSH) -> None:
    def limited(action: str, options: dict[str, Any]) -> httpx.Response:
        return user.post(action, options, query={"timeout": 2})

    name = user.post("utils/cmd/id", {"user": True, "name": True}).json()["output"].strip()
    with ThreadPoolExecutor(2) as pool:
        line = {"command": "sleep 4711; echo not reached"}
        file = {"follow": "name", "input": ["/dev/null"]}
        answers = pool.map(limited, ["core/opn/run", "utils/cmd/tail"], [line, file])
    for answer in answers:
        error = failure(answer, 504)
        assert error["type"] == "StepTimedOut" and error["ended"] is True
        assert "time limit of" in error["message"]
        task = user.task(answer.json()["task"])
        assert (task["state"], task["success"]) == ("timed_out", False)
    assert not [each for each in ssh.processes(name) if "4711" in each or "tail" in each]


def test_dry_run_shows_the_command_and_runs_nothing(alice: Caller, ssh: OpenSSH) -> None:
    tasks = alice.http.get("/tasks").json()["tasks"]
    shown = alice.post("utils/cmd/mkdir", {"input": ["dry; run"]}, query={"dry_run": "true"})
    assert shown.status_code == 200
    assert shown.json() == {
        "success": True,
        "dry_run": True,
        "action": "utils:mkdir",
        "command": "mkdir 'dry; run'",
        "options": {"input": ["dry; run"]},
        "time_limit": 60,
    }
    ran = alice.run("touch dry-run", query={"dry_run": "true", "timeout": "5"}).json()
    assert ran["options"] == {"command": "touch dry-run"} and ran["time_limit"] == 5
    failure(alice.post("utils/cmd/mkdir", query={"dry_run": "true"}), 422)
    alice.run("true")  # would be recorded after them
    assert not {"dry; run", "dry-run"} & {each.name for each in ssh.home("alice").iterdir()}
    assert len(alice.http.get("/tasks").json()["tasks"]) == min(len(tasks) + 1, 50)


def test_output_beyond_a_mebibyte_is_truncated_and_marked(alice: Caller) -> None:
    made = alice.run("yes 0123456789abcde | head -c 3000000 >long; wc -c <long")
    assert made.json()["output"]["stdout"] == "3000000\n"
    body = alice.post("utils/cmd/cat", {"input": ["long"]}).json()
    assert body["success"] and body["truncated"] is True
    assert body["output"] == "0123456789abcde\n" * 65_536
    assert alice.task(body["task"])["output"] == body["output"]


def test_output_that_is_not_utf8_has_replacement_characters(alice: Caller) -> None:
    body = alice.run("printf '\\377\\376 ok \\360\\237\\232\\200\\000\\033'").json()
    assert body["output"]["stdout"] == "\ufffd\ufffd ok \U0001f680\x00\x1b"
    assert alice.task(body["task"])["output"] == body["output"]


def test_task_shows_the_answer_and_its_steps(alice: Caller) -> None:
    answer = alice.run("echo out; echo err >&2", query=[("tag", "a"), ("tag", "b c")]).json()
    task = alice.task(answer["task"])
    assert task["state"] == "succeeded" and task["success"] is True
    assert task["tags"] == ["a", "b c"] and task["action"] == "core:run"
    assert task["options"] == {"command": "echo out; echo err >&2"}
    for key in ("task", "operation", "output", "log", "seconds"):
        assert task[key] == answer[key]
    [step] = task["steps"]
    assert (step["number"], step["exit_code"], step["undo"]) == (1, 0, False)
    assert (step["stdout"], step["stderr"]) == ("out\n", "err\n")
    assert task["started_at"] <= step["started_at"] <= task["ended_at"]
    # API and worker each know how far their clock is from the database's, to some milliseconds.
    created, started = (datetime.fromisoformat(task[key]) for key in ("created_at", "started_at"))
    assert created <= started + timedelta(seconds=1)


def test_a_hundred_waiting_requests_of_one_user_all_succeed(alice: Caller, ssh: OpenSSH) -> None:
    def ask(number: int) -> Any:
        answer = alice.run(f"sleep 0.1; echo {number}")
        return answer.status_code, answer.json()["output"]["stdout"]

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(ask, range(100)))
    assert answers == [(200, f"{number}\n") for number in range(100)]
    assert "open failed" not in ssh.log.read_text()


def test_description_of_an_action_matches_its_schema(alice: Caller) -> None:
    described = alice.http.get("/utils/cmd/mkdir").json()
    assert described["options"]["mode"]["required"] is False
    assert described["options"]["input"]["required"] is True
    assert described["schema"]["additionalProperties"] is False
    assert set(described["options"]) == set(described["schema"]["properties"])
    listed = [each["url"] for each in alice.http.get("/utils/commands").json()["commands"]]
    assert "/utils/cmd/mkdir" in listed


def test_longest_command_is_passed_and_a_longer_one_refused(alice: Caller) -> None:
    limit = alice.http.get("/limits").json()["command_bytes"]
    line = f": {'x' * (limit - 10)}; echo 1"
    assert len(line) == limit
    assert alice.run(line).json()["output"]["stdout"] == "1\n"
    error = failure(alice.run(line + "23"), 422)
    assert error["faults"][0]["field"] == "command"
