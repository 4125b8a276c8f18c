"""The requests that each command sends, and what it writes of the answer."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from resop_client.cli.schema_cache import SchemaCache
from tests.unit.client.cli.command_line import CommandLine
from tests.unit.client.fake_service import URL, answer, failure

JOB = {
    "id": "42",
    "name": "ice",
    "state": "PENDING",
    "partition": "batch",
    "elapsed": 0,
    "time_limit": 3600,
    "nodes": 1,
    "node_names": [],
    "reason": "Priority",
    "user": "ada",
    "account": "physics",
}
TASK: dict[str, Any] = {
    "task": "7",
    "action": "core:run",
    "state": "failed",
    "created_at": "2026-11-30T08:00:00Z",
    "seconds": 61,
    "tags": ["ice"],
    "options": {"command": "x"},
    "error": {"type": "OperationFailed", "message": "it broke\nbadly"},
    "steps": [{"command": "x", "exit_code": 1}],
    "log": ["begun"],
    "output": None,
}
BATCH = {
    "batch": "b1",
    "action": "core:run",
    "state": "ended",
    "success": True,
    "size": 2,
    "counts": {"queued": 0, "running": 0, "failed": 0, "succeeded": 2},
    "created_at": "2026-11-30T08:00:00Z",
    "tags": [],
}
ENTRY = {
    "name": "a b",
    "type": "file",
    "size": 2048,
    "mode": "0644",
    "owner": "ada",
    "modified": "2024-01-01T00:00:00Z",
    "target": None,
}
KEY = {
    "id": "k1",
    "name": "ci",
    "expires_at": "2026-12-30T00:00:00Z",
    "last_used_at": None,
    "scope": {"read_only": True, "actions": ["*"], "addresses": []},
}


def done(output: object) -> Any:
    return lambda _: answer({"success": True, "task": "7", "output": output})


def test_each_command_sends_its_request(resop: CommandLine) -> None:
    resop.answers |= {
        "/slurm/opn/jobs": done([JOB]),
        "/slurm/opn/job": done(JOB),
        "/slurm/opn/output": done(
            {"text": "line\n", "offset": 0, "next_offset": 5, "size": 5, "ended": True}
        ),
        "/slurm/opn/history": done({"jobs": [JOB | {"exit_code": 0}], "total": 3, "next": 1}),
        "/slurm/opn/partitions": done([]),
        "/utils/opn/list_folder": done({"total": 1, "entries": [ENTRY]}),
        "/utils/opn/quota": done([]),
        "/tasks": lambda _: answer({"tasks": [TASK], "next": None}),
        "/tasks/7": lambda _: answer(TASK),
        "/api-keys": lambda _: answer({"api_keys": [KEY]}),
        "/api-keys/k1": lambda _: answer({"id": "k1"}),
        "/batches": lambda _: answer({"batches": [BATCH]}),
        "/limits": lambda _: answer({"tasks": 5}),
    }
    for line, path, text in (
        ("jobs", '/slurm/opn/jobs {"users":["ada"]}', "42   ice   PENDING  batch"),
        ("jobs --all", "/slurm/opn/jobs {}", "Priority"),
        (
            "jobs show 42 --steps",
            '/slurm/opn/job {"id":"42","steps":true}',
            "time_limit  1 h 0 min",
        ),
        ("jobs output 42", '/slurm/opn/output {"id":"42","stream":"stdout"}', "line\n"),
        ("jobs history -n 1", '/slurm/opn/history {"limit":1}', "(1 of 3;"),
        ("partitions", "/slurm/opn/partitions {}", "(none)"),
        ("ls :x -t", "/utils/opn/list_folder ", "2.0 KiB  2024-01-01  a b"),
        ("quota", "/utils/opn/quota {}", "(none)"),
        ("tasks --tag ice", "/tasks", "7     core:run  failed"),
        ("tasks show 7", "/tasks/7", "error       OperationFailed: it broke"),
        ("keys", "/api-keys", "never"),
        ("keys revoke k1", "/api-keys/k1", "Key k1 is revoked."),
        ("batch", "/batches", "2/2"),
        ("api get limits --jq .tasks", "/limits", ""),
        ("api GET /limits -p a=1", "/limits", '"tasks": 5'),
    ):
        ran = resop.run(*line.split())
        request = resop.requests[-1]
        content = request.content.decode()
        sent = json.dumps(json.loads(content), separators=(",", ":")) if content else ""
        assert f"{request.url.path} {sent}".startswith(path), (line, sent)
        assert text in ran.out + ran.err, (line, ran)
        assert ran.code == 0 or "--jq" in line, (line, ran)


def test_login_asks_for_a_code_and_stores_the_token(
    resop: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
    service = {"service": "resop", "version": "0.2.0", "clusters": ["hpc", "old"]}
    login = {
        "token": "new",
        "username": "eve",
        "cluster": "hpc",
        "expires_at": "2099-01-01T00:00:00+00:00",
        "login_expires_at": "2099-01-02T00:00:00+00:00",
    }
    resop.answers["/"] = lambda _: answer(service)
    resop.answers["/auth/opn/login"] = answer({"success": True, "output": login})
    ran = resop.run("login", URL, "-u", "eve", "--password-stdin", "--profile", "two", "-v")
    assert ran.code == 0 and "as eve@hpc until" in ran.err and "Other clusters: hpc, old" in ran.err
    assert "secret" not in ran.err and '"password":"***"' in ran.err
    assert resop.bodies() == [{"username": "eve", "password": "secret"}]
    assert resop.requests[-1].url.path == "/openapi.json"  # for completion
    assert SchemaCache().stored(URL) is not None
    assert [each["profile"] for each in json.loads(resop.run("profiles", "-o", "json").out)] == [
        "default",
        "two",
    ]
    assert resop.run("profiles", "use", "two").code == 0
    resop.answers["/tasks"] = lambda _: answer({"tasks": [], "next": None})
    assert resop.run("tasks").code == 0
    assert resop.requests[-1].headers["authorization"] == "Bearer new"
    resop.answers["/auth/opn/logout"] = failure("SessionExpired", 401)
    assert "forgotten" in resop.run("logout").err
    assert resop.run("login", "--cluster", "none").code == 2


def test_a_sweep_and_a_batch_take_values_as_they_are_written(
    resop: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    resop.answers["/slurm/opn/sweep"] = done({"job": 9, "runs": 20})
    script = str(tmp_path / "run.sh")
    slurm = {"name": "slurm", "commands": [], "operations": ["sweep"]}
    resop.answers["/operators"] = lambda _: answer({"operators": [slurm]})
    ran = resop.run("sweep", script, "X=0.1:1:0.1", "S=1..2", "--zip", "--job-name", "ice")
    assert ran.out == "9\n" and resop.bodies()[-1] == {
        "script": "#!/bin/sh\n",
        "parameters": {"X": {"start": 0.1, "stop": 1, "step": 0.1}, "S": {"start": 1, "stop": 2}},
        "mode": "zip",
        "job_name": "ice",
    }
    resop.answers["/core/opn/run/batch"] = lambda _: answer(BATCH)
    words = ["batch", "run", "/core/opn/run", "-c", "sim {{X}}", "X=1,2", "--wait", "-o", "id"]
    assert resop.run(*words).out == "b1\n"
    assert resop.bodies()[-1] == {"options": {"command": "sim {{X}}"}, "sweep": {"X": [1, 2]}}


def test_files_are_copied_in_both_directions(resop: CommandLine, tmp_path: Path) -> None:
    local = tmp_path / "a.txt"
    local.write_text("text")

    def files(request: httpx2.Request) -> httpx2.Response:
        path = request.url.params["path"]
        if request.method == "PUT":
            return answer({"path": path, "size": 4, "etag": '"1"'}, 201)
        if path == "folder":
            return failure("PathFailed", 409, reason="is_folder")
        headers = {"content-length": "4", "etag": '"1"'}
        content = b"text" if request.method == "GET" else b""
        return httpx2.Response(200, headers=headers, content=content)

    resop.answers["/files"] = files
    assert resop.run("cp", str(local), ":folder") == ("", "", 0)
    assert resop.requests[-1].url.params["path"] == "folder/a.txt"
    assert resop.run("cp", ":b.txt", str(tmp_path / "b.txt")).code == 0
    assert (tmp_path / "b.txt").read_text() == "text"
    for words, text in (
        (["cp", str(local), "b"], "write ':' before it"),
        (["cp", ":a", "b", ":c"], "copy them one by one"),
        (["cp", ":folder", str(tmp_path)], ":folder is a folder: add -r"),
        (["cp", str(tmp_path), ":folder"], "is a folder: add -r"),
        (["cp", str(tmp_path / "none"), ":x"], "No such file or directory"),
    ):
        ran = resop.run(*words)
        assert text in ran.err and ran.code in (1, 2), ran


def test_completion_knows_commands_and_the_stored_operators(
    resop: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for shell, text in {"zsh": "#compdef resop", "fish": "complete --no-files"}.items():
        assert text in resop.run("completion", shell).out
    resop.run("actions")
    count = len(resop.requests)
    for words, wanted in {
        "resop si": "site",
        "resop site fr": "freeze",
        "resop no": "nodes",
    }.items():
        monkeypatch.setenv("_RESOP_COMPLETE", "zsh_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
        with pytest.raises(SystemExit):
            resop.run()
        assert wanted in capsys.readouterr().out.split("\n")
    assert len(resop.requests) == count
