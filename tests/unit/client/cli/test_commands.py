"""The command line of the client: options, formats, errors and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from tests.unit.client.cli.command_line import DOCUMENT, NODES, CommandLine
from tests.unit.client.fake_service import answer, failure

TASK = {"task": "7", "action": "site:freeze", "state": "succeeded", "error": None}


def done(output: object) -> httpx2.Response:
    return answer({"success": True, "task": "7", "output": output})


def ended(output: object = None, **more: object) -> httpx2.Response:
    return answer({**TASK, "output": output, **more})


def test_a_result_is_written_in_each_format(resop: CommandLine) -> None:
    resop.answers["/slurm/opn/nodes"] = lambda _: done(NODES)
    table = resop.run("nodes").out
    head, row = (line.split("  ") for line in table.splitlines())
    assert head[0] == "NODE" and table.count("REASON") == 1
    assert "   0/8  0 B / 16.0 GiB  a100:1/4  batch,gpu" in table, row
    assert json.loads(resop.run("nodes", "-o", "json").out) == NODES
    assert json.loads(resop.run("-o", "ndjson", "nodes").out) == NODES[0]
    assert resop.run("nodes", "--format=id").out == "cn01\n"
    assert resop.run("nodes", "-o", "csv").out.startswith("name,status,allocated_cpus")
    assert {each.url.path for each in resop.requests} == {"/slurm/opn/nodes"}
    refused = resop.run("nodes", "-o", "xml")
    assert refused.code == 2 and "see: resop nodes --help" in refused.err


def test_an_action_of_the_site_has_its_options_from_the_schema(resop: CommandLine) -> None:
    resop.answers["/site/opn/freeze"] = lambda _: answer({**TASK, "output": {"until": "x"}}, 202)
    line = "v1 --mode HARD --days 3 --names a --names b --force --pin 1234 -v -o json --limits"
    ran = resop.run("site", "freeze", *line.split(), '{"a": [1]}')
    assert json.loads(ran.out) == {"until": "x"} and ran.code == 0
    assert resop.bodies() == [
        {
            "volume": "v1",
            "mode": "hard",
            "days": 3,
            "names": ["a", "b"],
            "force": True,
            "limits": {"a": [1]},
            "pin": "1234",
        }
    ]
    assert "curl -X POST http://hpc.example/site/opn/freeze" in ran.err
    assert "$RESOP_TOKEN" in ran.err and '"pin":"***"' in ran.err and "1234" not in ran.err
    shown = resop.run("site:freeze", "--help").out
    for text in ("--mode [soft|hard]", "the volume [required]", "[default: 7]", "'a b'"):
        assert text in shown.replace("\n", " ") or text in shown
    resop.answers["/site/cmd/show"] = lambda _: answer({**TASK, "output": "text\n"}, 202)
    assert resop.run("site", "show", "--long", "a", "-b").code == 2
    assert resop.run("site", "show", "--long", "a", "--", "-b").out == "text\n"
    assert resop.bodies()[-1] == {"long": True, "input": ["a", "-b"]}


def test_a_name_that_does_not_exist_is_answered_with_the_nearest(resop: CommandLine) -> None:
    for words, message in {
        "site freze": "operator 'site' has no action 'freze'; did you mean 'freeze'?",
        "sight freeze": "there is no command or operator 'sight'; did you mean 'site'?",
        "nodez": "there is no command or operator 'nodez'; did you mean 'nodes'?",
        "site freeze v1 v2": "unexpected argument 'v2'",
        "site freeze --days x v1": "'x' is not a valid integer",
        "actions nothing": "there is no operator 'nothing' (site, slurm)",
    }.items():
        ran = resop.run(*words.split())
        assert message in ran.err and ran.code in (2, 5), ran.err
        assert ran.out == "" and len(ran.err.splitlines()) <= 2


def test_the_schema_is_fetched_once_and_then_asked_for_by_its_tag(
    resop: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "site" in resop.run("actions").out
    assert "Freeze a volume" in resop.run("actions", "site").out
    assert [each.url.path for each in resop.requests] == ["/openapi.json"]
    monkeypatch.setattr("resop_client.cli.schema_cache.FRESH_SECONDS", 0)
    resop.answers["/openapi.json"] = httpx2.Response(304)
    assert "Freeze a volume" in resop.run("actions", "site").out
    assert resop.requests[-1].headers["if-none-match"] == '"1"'
    assert "\n  site, slurm\n" in resop.run("--help").out
    other = {**DOCUMENT, "info": {"version": "1.3"}}
    resop.answers["/openapi.json"] = answer(other)
    ran = resop.run("actions")
    assert ran.code == 9 and "is version 1.3" in ran.err and "pip install" in ran.err


def test_exit_codes_and_what_to_do_next(resop: CommandLine) -> None:
    error = {"type": "CommandFailed", "message": "make: no rule", "exit_code": 3}
    for response, code, text in (
        (failure("NotLoggedIn", 401), 3, "log in first: resop login http://hpc.example"),
        (failure("SessionExpired", 401), 3, "log in again: resop login"),
        (failure("Forbidden", 403), 4, "this is Forbidden"),
        (failure("JobNotFound", 404), 5, "this is JobNotFound"),
        (failure("TaskRunning", 409), 6, "this is TaskRunning"),
        (failure("TooManyAttempts", 429, retry_after=900), 7, "this is TooManyAttempts"),
        (failure("ClusterUnreachable", 502), 8, "this is ClusterUnreachable"),
        (failure("ServiceFault", 500), 9, "this is ServiceFault"),
        (failure("StepTimedOut", 504), 10, "this is StepTimedOut"),
        (failure("ContactLost", 502), 11, "this is ContactLost"),
        (failure("TaskCancelled", 409), 12, "this is TaskCancelled"),
        (failure("InvalidOptions", 422, faults=[{"field": "a", "message": "bad"}]), 2, "a: bad"),
        (failure("NewKindOfError", 409), 6, "this is NewKindOfError"),
        (httpx2.ConnectError("[Errno 111]\nrefused"), 9, "cannot reach http://hpc.example: [Errno"),
        (answer({"success": False, "task": "7", "error": error}, 424), 3, "resop tasks show 7"),
    ):
        resop.answers["/slurm/opn/nodes"] = response
        ran = resop.run("nodes")
        assert ran.code == code and text in ran.err, ran
        assert ran.err.startswith("resop: ") and len(ran.err.splitlines()) <= 2
        assert ran.out == ""
    resop.answers["/slurm/opn/nodes"] = httpx2.Response(200, text="<html>")
    resop.answers["/"] = answer({"service": "resop", "version": "0.0.3"})
    ran = resop.run("nodes")
    assert ran.code == 9 and "is version 0.0.3, and this client" in ran.err


def test_sh_writes_both_outputs_and_has_the_exit_code_of_the_command(resop: CommandLine) -> None:
    events = "".join(
        f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
        for number, (kind, data) in enumerate(
            [
                ("output", {"stream": "stdout", "text": "out\n"}),
                ("output", {"stream": "stderr", "text": "err\n"}),
                ("done", {}),
            ]
        )
    )
    resop.answers["/core/opn/run"] = lambda _: answer({**TASK, "state": "running"}, 202)
    resop.answers["/tasks/7/events"] = lambda _: httpx2.Response(200, text=events)
    resop.answers["/tasks/7"] = lambda _: ended({"stdout": "", "stderr": "", "exit_code": 17})
    assert resop.run("sh", "--", "grep", "a b", "x") == ("out\n", "err\n", 17)
    assert resop.bodies()[-1] == {"command": "grep 'a b' x", "check": False}
    resop.run("sh", "aws", "--profile", "other", "-o", "x")
    assert resop.bodies()[-1]["command"] == "aws --profile other -o x"
    resop.run("sh", "make -j8 | tail")
    assert resop.bodies()[-1]["command"] == "make -j8 | tail"


def test_interrupt_cancels_the_task_and_says_so(resop: CommandLine) -> None:
    resop.answers["/site/opn/freeze"] = lambda _: answer({**TASK, "state": "running"}, 202)

    def task(request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE":
            return ended(state="cancelled")
        raise KeyboardInterrupt

    resop.answers["/tasks/7"] = task
    with pytest.raises(SystemExit) as ended_by:
        resop.run("site", "freeze", "v1")
    assert ended_by.value.code == 12
    assert resop.requests[-1].method == "DELETE"


def test_submit_takes_the_names_of_sbatch(resop: CommandLine, tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\n")
    resop.answers["/slurm/opn/submit"] = lambda _: answer({**TASK, "output": {"job": 42}}, 202)
    ran = resop.run("submit", str(script), "--time", "30", "--job-name=ice")
    assert (ran.out, ran.code) == ("42\n", 0) and "resop jobs output -f 42" in ran.err
    assert resop.bodies() == [{"time_limit": "30", "job_name": "ice", "script": "#!/bin/sh\n"}]
    ran = resop.run("submit", str(tmp_path / "none"))
    assert ran.code == 2 and "No such file" in ran.err


def test_profiles_are_listed_and_chosen(resop: CommandLine) -> None:
    assert "* " in resop.run("profiles").out
    assert resop.run("profiles", "use", "other").code == 2
    assert json.loads(resop.run("profiles", "-o", "json").out)[0]["active"] is True
    resop.answers["/tasks"] = lambda _: answer({"tasks": [], "next": None})
    assert resop.run("whoami", "-o", "json").code == 0
    ran = resop.run("whoami", "--profile", "other")
    assert ran.code == 3 and "resop login" in ran.err
