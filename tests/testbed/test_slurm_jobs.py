"""Pages of jobs, scripts, use, attempts and last lines, with a real Slurm."""

import time
from functools import partial
from typing import Any

import pytest

from tests.support.centre import output
from tests.support.service import Caller, failure
from tests.testbed.test_slurm_actions import ending, out_of_the_queue, submit, written
from tests.testbed.test_slurm_queries import eventually, is_recent
from tests.testbed.test_slurm_sites import fresh, run

pytestmark = pytest.mark.timeout(240)

MIB = 1 << 20
# Sleeps, so that it is measured even where CPUs are busy elsewhere.
EATER = "import time; x = b'a' * (100 << 20)\nwhile time.process_time() < 2: pass\ntime.sleep(4)"
SCRIPT = f"""\
printf 'begin\\n 1%%\\r50%%\\r99%%\\nbar done\\nlast ü' ; echo 'oops' >&2
srun --overlap -n 2 python3 -c "{EATER}"
printf '!'
"""


def job(caller: Caller, id: object, **options: Any) -> Any:
    return fresh(caller, "slurm/opn/job", id=str(id), **options)


def test_job_is_shown_with_its_script_use_and_last_lines(alice: Caller, bob: Caller) -> None:
    sizes = {
        "ntasks": 2,
        "memory_per_cpu": 400,
        "error": "%x.err",
        "job_name": f"e{time.time_ns()}",
    }
    id = submit(alice, SCRIPT, **sizes)
    submitted = f"#!/bin/sh\n{SCRIPT}\n"

    def live() -> Any:
        return job(alice, id, live_usage=True, batch_script=True, efficiency=True)

    def is_measured(found: Any) -> bool:
        usage = found["live_usage"]
        return (usage["cpu_seconds"] or 0) > 0 and (usage["memory"] or 0) > 200 * MIB

    running = eventually(live, is_measured)
    assert running["batch_script"] == {"text": submitted, "source": "queue", "reason": None}
    steps = {step["id"]: step for step in running["live_usage"]["steps"]}
    assert (steps["0"]["tasks"], steps["batch"]["tasks"]) == (2, 1)
    assert 100 * MIB <= steps["0"]["max_rss"] < 200 * MIB
    assert running["live_usage"]["reason"] is None
    assert running["efficiency"]["cpu"]["ratio"] is None
    assert "live_usage" in running["efficiency"]["reason"]
    assert written(alice, id, tail=2)["text"] == "bar done\nlast ü"
    others = job(bob, id, live_usage=True, batch_script=True)
    assert others["batch_script"]["text"] is None
    assert "owner" in others["batch_script"]["reason"]
    assert (others["live_usage"]["steps"], "owner" in others["live_usage"]["reason"]) == ([], True)

    assert ending(alice, id)["succeeded"]
    shown = written(alice, id, tail=3)
    assert shown["text"] == "99%\nbar done\nlast ü!"
    assert shown["next_offset"] == shown["size"]
    assert written(alice, id, tail=3, limit=16)["text"] == "last ü!"
    assert written(alice, id, offset=-2)["text"] == "!"
    assert written(alice, id, stream="stderr", tail=10)["text"] == "oops\n"
    error = failure(alice.post("slurm/opn/output", {"id": str(id), "tail": 1, "offset": 5}), 422)
    assert "either tail or offset" in error["message"]

    out_of_the_queue(alice, id)
    # slurmctld sends the script to the database after the job's record.
    past = eventually(
        lambda: job(alice, id, batch_script=True, efficiency=True, attempts=True),
        lambda found: found["batch_script"]["text"] is not None,
        patience=120,
    )
    stored = past["batch_script"]
    assert (stored["source"], stored["reason"]) == ("accounting", None)
    # Whether the last of several newlines is the script's or sacct's depends on the release.
    assert stored["text"].rstrip("\n") == submitted.rstrip("\n")
    use = past["efficiency"]
    assert use["memory"]["allocated"] == 800 * MIB
    # The peaks of both tasks, not that of one.
    assert 200 * MIB <= use["memory"]["used"] < 400 * MIB
    assert use["memory"]["ratio"] == round(use["memory"]["used"] / (800 * MIB), 4)
    assert use["cpu"]["allocated"] == 2 * past["elapsed"]
    assert use["cpu"]["used"] >= 4
    assert (use["gpu"]["allocated"], use["reason"]) == (None, None)
    assert use["time"]["allocated"] == 300
    assert (past["restarts"], [each["state"] for each in past["attempts"]]) == (0, ["COMPLETED"])


def test_live_use_is_that_of_the_array_task_or_component(alice: Caller) -> None:
    # sstat itself shows all tasks for the array's last one, and the first component for each.
    line = "exec python3 -c \"import time; x = b'a' * ({} << 20); time.sleep(90)\""
    array = submit(alice, line.format("60 * $SLURM_ARRAY_TASK_ID"), array="1-2")
    script = f"#!/bin/sh\n#SBATCH -p batch\n#SBATCH hetjob\n#SBATCH -p batch\n{line.format(30)}\n"
    pair = output(alice, "slurm/cmd/sbatch", stdin=script, parsable=True, time="5").strip()

    def memory(id: str) -> Any:
        return job(alice, id, live_usage=True)["live_usage"]["memory"] or 0

    for id, size in {f"{array}_1": 60, f"{array}_2": 120, f"{pair}+0": 30}.items():
        least = size * MIB
        used = eventually(partial(memory, id), least.__lt__)
        assert used < least + 30 * MIB, id
    other = job(alice, f"{pair}+1", live_usage=True)
    assert (other["state"], other["live_usage"]["steps"]) == ("RUNNING", [])
    assert other["live_usage"]["reason"]
    assert job(alice, f"{pair}+1", batch_script=True)["batch_script"]["text"] == script
    output(alice, "slurm/opn/cancel", jobs=[array, pair])


def test_requeued_job_has_its_attempts(alice: Caller) -> None:
    id = submit(alice, "sleep 300")
    eventually(lambda: job(alice, id), lambda found: found["state"] == "RUNNING")
    run(alice, f"scontrol requeue {id}")

    def attempts() -> Any:
        return job(alice, id, attempts=True)

    found = eventually(attempts, lambda found: len(found["attempts"]) == 2)
    first, second = found["attempts"]
    assert (first["number"], first["state"], second["state"]) == (1, "REQUEUED", "PENDING")
    assert is_recent(first["started"]) and is_recent(first["ended"])
    assert (len(first["node_names"]), second["started"], second["node_names"]) == (1, None, [])
    assert found["restarts"] == 1
    output(alice, "slurm/opn/cancel", jobs=[id])


def test_jobs_are_answered_page_by_page_with_the_chosen_fields(alice: Caller) -> None:
    name = f"page-{time.time_ns()}"
    held = [submit(alice, "true", hold=True, job_name=name, gpus="1") for _ in range(3)]
    array = submit(alice, "true", hold=True, job_name=name, array="1-3")
    fields = ["id", "state", "gpus", "memory", "reason"]
    pages = []
    offset: int | None = 0
    while offset is not None:
        asked = {"names": [name], "fields": fields, "limit": 3, "offset": offset, "each_task": True}
        page = fresh(alice, "slurm/opn/jobs", **asked)
        assert page["total"] == 6
        pages.append(page["items"])
        offset = page["next"]
    assert [[each["id"] for each in items] for items in pages] == [
        [str(id) for id in held],
        [f"{array}_{n}" for n in (1, 2, 3)],
    ]
    assert {tuple(each) for items in pages for each in items} == {tuple(fields)}
    assert pages[0][0]["gpus"] == {"gpu": 1}
    assert {each["memory"] for each in pages[1]} == {500 * MIB}
    whole = fresh(alice, "slurm/opn/jobs", names=[name])
    small = fresh(alice, "slurm/opn/jobs", names=[name], limit=100)
    assert small == {"items": whole, "total": 4, "next": None}
    error = failure(alice.post("slurm/opn/jobs", {"fields": ["colour"]}), 422)
    assert "id, job, raw_id" in error["message"]
    output(alice, "slurm/opn/cancel", name=name)
