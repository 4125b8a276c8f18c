"""Sweeps and arrays on a real Slurm: collected into a table, run again, and waited for together."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.centre import output
from tests.support.needs import need
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded, failure
from tests.testbed.test_slurm_actions import out_of_the_queue, submit

pytestmark = pytest.mark.timeout(240)

PAGE = (Path(__file__).parents[2] / "docs/sweeps.md").read_text(encoding="utf-8")
RUNS = 56
"""Fewer than on the page, where every 28th of them fails as well."""


def results(caller: Caller, job: int, **options: Any) -> Any:
    return output(caller, "slurm/opn/results", id=job, **options)


def by_index(collected: Any) -> dict[int, Any]:
    return {row["index"]: row for row in collected["members"]}


def ended(caller: Caller, *ids: object) -> Any:
    """Return the outcome of a wait for several jobs."""
    outcome = output(caller, "slurm/opn/wait", ids=[*ids], timeout=60)
    assert outcome["ended"], outcome
    return outcome


def test_story_of_the_documentation_ends_with_a_complete_table(
    alice: Caller, running: Embedded, tmp_path: Path
) -> None:
    need(None if shutil.which("jq") else "missing: jq; to install it: scripts/packages testbed")
    [request] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    [folder] = re.findall(r"^    (curl .*mkdir.*)$", PAGE, re.MULTILINE)
    [lines] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert len(lines.splitlines()) < 10
    body = json.loads(request)
    assert body["parameters"] == {"N": {"start": 1, "stop": 200}}
    body["parameters"]["N"]["stop"] = RUNS
    (tmp_path / "sweep.json").write_text(json.dumps(body))
    environ = {
        **os.environ,
        "RESOP": f"http://{HOST}:{running.ports[0]}",
        "AUTH": f"Authorization: {alice.http.headers['Authorization']}",
    }
    argv = ["bash", "-euo", "pipefail", "-c", f"{folder}\n{lines}"]
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'"done": {RUNS}.0, "total": {RUNS}.0' in done.stdout
    first, table = (
        list(csv.DictReader(io.StringIO((tmp_path / name).read_text(), newline="")))
        for name in ("first.csv", "table.csv")
    )
    needy = [str(n) for n in range(28, RUNS + 1, 28)]
    assert len(first) == len(table) == RUNS
    failed = [row for row in first if row["state"] != "COMPLETED"]
    assert [row["N"] for row in failed] == needy
    assert {(row["state"], row["exit_code"], row["reason"]) for row in failed} == {
        ("FAILED", "9", "NonZeroExitCode")
    }
    assert {row["state"] for row in table} == {"COMPLETED"}
    assert [row["N"] for row in table if row["attempts"] == "2"] == needy
    for row in table:
        assert row["square-$N.txt"] == f"{int(row['N']) ** 2}\n"
        assert int(row["index"]) == int(row["N"]) - 1 == int(row["id"].rpartition("_")[2])


def test_results_have_what_there_is_and_say_why_the_rest_is_missing(alice: Caller) -> None:
    swept = output(
        alice,
        "slurm/opn/sweep",
        script='#!/bin/sh\n#SBATCH -o "~/rs/log %A-%2a"\necho "$TEXT"\n'
        'case $N in 1) printf "%070000d" 0 >"rs/big-$N";; 2) mkdir -p rs/big-2;; esac\nexit $N\n',
        items=[
            {"N": 0, "TEXT": "a/b $N %a"},
            {"N": 1, "TEXT": "=1+1"},
            {"N": 2},
            {"N": 3, "TEXT": ""},
        ],
        time_limit=5,
        memory=10,
    )
    job = swept["job"]
    outcome = ended(alice, job)
    assert outcome["states"] == {"COMPLETED": 1, "FAILED": 3}
    names = ["rs/big-$N", "stdout", "rs/x-${TEXT}", "~/rs/log %A-%2a"]
    collected = results(alice, job, files=names, total_limit=65_600)
    assert (collected["states"], collected["reruns"]) == ({"COMPLETED": 1, "FAILED": 3}, [])
    rows = by_index(collected)
    assert [row["parameters"] for row in rows.values()] == swept["values"]
    assert [row["exit_code"] for row in rows.values()] == [0, 1, 2, 3]
    assert rows[3]["reason"] == "NonZeroExitCode"
    assert rows[3]["allocated"]["cpu"] == 1 and rows[3]["elapsed"] >= 0
    logs = [row["files"]["stdout"]["text"] for row in rows.values()]
    assert logs == ["a/b $N %a\n", "=1+1\n", "\n", "\n"]
    assert [row["files"]["~/rs/log %A-%2a"]["text"] for row in rows.values()] == logs
    big = [row["files"]["rs/big-$N"] for row in rows.values()]
    assert (big[1]["size"], len(big[1]["text"]), big[1]["truncated"]) == (70_000, 65_536, True)
    assert [each["reason"] for each in big] == [
        "there is no such file",
        None,
        "it is a folder",
        "there is no such file",
    ]
    missing = [row["files"]["rs/x-${TEXT}"] for row in rows.values()]
    assert missing[0]["path"] == "/home/alice/rs/x-a/b $N %a"
    assert missing[2]["reason"] == "the run has no parameter TEXT"
    error = failure(alice.post("slurm/opn/results", {"id": job, "files": ["$M"]}), 422)
    assert "the sweep has no parameter M; it has N, TEXT" in error["message"]
    lines = results(alice, job, format="ndjson", members="1-2").splitlines()
    assert [json.loads(line)["index"] for line in lines] == [1, 2]
    table = results(alice, job, format="csv", files=["stdout"], members="1")
    [row] = csv.DictReader(io.StringIO(table, newline=""))
    assert (row["TEXT"], row["stdout"]) == ("'=1+1", "'=1+1\n")


def test_members_run_again_under_their_own_indexes_and_overwrite_nothing(alice: Caller) -> None:
    run = (
        "test $SLURM_ARRAY_TASK_ID = 9 -a ! -e ok && sleep 30\n"
        "echo $SLURM_ARRAY_TASK_ID $A >&2; test -e ok"
    )
    output(alice, "utils/cmd/rm", force=True, input=["ok"])
    environment = {"A": 'it\'s, "x"\n'}
    options = {"array": "2,5-6,9", "environment": environment, "error": "again-%A_%a.err"}
    job = submit(alice, run, memory=10, **options)
    output(alice, "slurm/opn/wait", ids=[f"{job}_{n}" for n in (2, 5, 6)], timeout=40)
    error = failure(alice.post("slurm/opn/rerun", {"id": job}), 424)
    assert f"1 of 4 members of array {job} have not ended, such as {job}_9" in error["message"]
    error = failure(alice.post("slurm/opn/rerun", {"id": job, "members": "9"}), 422)
    assert f"{job}_9 have not ended: cancel them first" in error["message"]
    output(alice, "core/opn/run", command="touch ok")
    again = output(
        alice, "slurm/opn/rerun", id=job, members="5-6", while_running=True, memory="20M"
    )
    assert (again["array"], again["rerun_of"], again["runs"]) == ("5-6", job, 2)
    assert again["options"] == {"memory": "20M"}
    assert [(each["previous"], each["state"]) for each in again["members"]] == [
        (f"{job}_5", "FAILED"),
        (f"{job}_6", "FAILED"),
    ]
    output(alice, "slurm/opn/cancel", jobs=[f"{job}_9"])
    ended(alice, job, again["job"])
    collected = results(alice, job, files=["stderr"])
    rows = by_index(collected)
    assert [row["state"] for row in rows.values()] == [
        *("FAILED", "COMPLETED", "COMPLETED", "CANCELLED")
    ]
    assert [row["id"] for row in rows.values()] == [
        *(f"{job}_2", f"{again['job']}_5", f"{again['job']}_6", f"{job}_9")
    ]
    assert rows[6]["files"]["stderr"]["text"] == '6 it\'s, "x"\n'
    assert rows[6]["allocated"]["mem"] == 20 << 20
    last = output(alice, "slurm/opn/rerun", id=job, output="same.out", overwrite=True)
    assert (last["array"], last["runs"]) == ("2,9", 2)
    ended(alice, last["job"])
    assert results(alice, job)["states"] == {"COMPLETED": 4}
    error = failure(alice.post("slurm/opn/rerun", {"id": job}), 424)
    assert error["message"] == f"no member of array {job} has failed: nothing was submitted"
    refused = {"id": last["job"], "members": "2"}
    error = failure(alice.post("slurm/opn/rerun", refused), 422)
    assert f"same.out has no %A or %j, so the files of array {last['job']}" in error["message"]
    folder = ".local/share/resop/arrays"
    output(alice, "utils/cmd/rm", input=[f"{folder}/{job}.json"])
    assert by_index(results(alice, job))[2]["parameters"] is None
    error = failure(alice.post("slurm/opn/rerun", {"id": job, "members": "2"}), 424)
    assert f"how array {job} was submitted is not known" in error["message"]


def test_wait_for_many_jobs_records_counts_and_ends_for_what_never_runs(alice: Caller) -> None:
    array = submit(alice, "sleep 6; exit $SLURM_ARRAY_TASK_ID", array="0-2", memory=10)
    failed = submit(alice, "exit 3", memory=10)
    child = submit(alice, "true", dependency=f"afterok:{failed}", kill_on_invalid_dep=False)
    jobs = [submit(alice, "sleep 4", memory=10) for _ in range(3)]
    any_ended = output(alice, "slurm/opn/wait", ids=[array, failed], until="any", timeout=60)
    assert [each["ended"] for each in any_ended["jobs"]] == [False, True]
    task = alice.begin("slurm/opn/wait", {"ids": [array, failed, child, *jobs], "timeout": 90})
    seen = alice.task(task, wait=80)
    outcome = seen["output"]
    assert outcome["states"] == {"COMPLETED": 4, "FAILED": 3, "PENDING": 1}
    by_id = {each["id"]: each for each in outcome["jobs"]}
    never = by_id[str(child)]
    assert (never["ended"], never["reason"]) == (False, "DependencyNeverSatisfied")
    assert [part["exit_code"] for part in by_id[str(array)]["failed"]] == [1, 2]
    assert by_id[str(failed)]["exit_code"] == 3
    looks = [step["stdout"] for step in seen["steps"] if "%i %T %r" in step["command"]]
    assert any(f"RUNNING None| {array}_0-2" in text for text in looks), looks
    assert max(map(len, looks)) < 400
    output(alice, "slurm/opn/cancel", jobs=[child])
    out_of_the_queue(alice, failed)
    for ids in ([failed], [failed, jobs[0]]):
        assert ended(alice, *ids)["jobs"][0] == by_id[str(failed)], ids
    error = failure(alice.post("slurm/opn/wait", {"ids": [failed, 999_998]}), 404)
    assert "there is no job 999998" in error["message"]
