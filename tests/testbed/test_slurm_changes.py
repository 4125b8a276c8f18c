"""Changes of jobs, and explanations, with a real Slurm: hold, release, requeue, update, why."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.centre import output
from tests.support.service import Caller, failure
from tests.support.testbed import Testbed
from tests.testbed.test_slurm_actions import ending, out_of_the_queue, submit
from tests.testbed.test_slurm_queries import eventually
from tests.testbed.test_slurm_sites import fresh

pytestmark = pytest.mark.timeout(240)

LATER = {"begin": "now+1hour"}


def results(answer: list[dict[str, Any]]) -> dict[str, str]:
    return {each["id"]: each["result"] for each in answer}


def messages(error: Any) -> dict[str, str]:
    return {each["id"]: each["message"] for each in error["jobs"]}


def looked(caller: Caller, id: object) -> Any:
    return fresh(caller, "slurm/opn/job", id=id)


def why(caller: Caller, id: object, **options: Any) -> Any:
    return fresh(caller, "slurm/opn/why", id=id, **options)


def started(caller: Caller, id: object) -> None:
    eventually(lambda: looked(caller, id)["state"], lambda state: state == "RUNNING")


def test_jobs_are_held_and_released_with_an_answer_for_each(alice: Caller, bob: Caller) -> None:
    job, array = submit(alice, "true", **LATER), submit(alice, "true", array="0-3", **LATER)
    running, ended, his = (
        submit(alice, "sleep 60"),
        submit(alice, "true"),
        submit(bob, "true", **LATER),
    )
    started(alice, running)
    ending(alice, ended)
    tasks = f"{array}_[1-2]"
    held = output(alice, "slurm/opn/hold", jobs=[job, tasks, running, ended])
    assert results(held) == {
        str(job): "held",
        tasks: "held",
        str(running): "started",
        str(ended): "had_ended",
    }
    parts = fresh(alice, "slurm/opn/jobs", ids=[str(array)], each_task=True)
    assert [each["reason"] for each in parts if each["task"] in (1, 2)] == ["JobHeldUser"] * 2
    assert all(each["reason"] != "JobHeldUser" for each in parts if each["task"] in (0, 3))
    assert why(alice, job)["kind"] == "held"
    assert looked(alice, array)["states"] == {"PENDING": 4}
    error = failure(alice.post("slurm/opn/hold", {"jobs": [his, 999999]}), 424)
    assert "a job of bob" in messages(error)[str(his)]
    assert messages(error)["999999"].startswith("Invalid job id specified")
    freed = output(alice, "slurm/opn/release", jobs=[job, tasks, ended])
    assert results(freed) == {str(job): "released", tasks: "released", str(ended): "had_ended"}
    assert eventually(lambda: looked(alice, job)["reason"], lambda word: word == "BeginTime")
    assert results(output(bob, "slurm/opn/hold", user="bob"))[str(his)] == "held"
    output(bob, "slurm/opn/cancel", jobs=[his])
    output(alice, "slurm/opn/cancel", jobs=[job, array, running])


def test_all_tasks_of_an_array_with_a_step_are_changed(alice: Caller, admin: Caller) -> None:
    array = submit(alice, "true", array="1-19:2", **LATER)
    [held] = output(alice, "slurm/opn/hold", jobs=[array])
    assert (held["result"], held["states"]) == ("held", {"PENDING": 10})
    last = f"{array}_19"
    assert why(alice, last)["kind"] == "held"
    assert [each["id"] for each in fresh(alice, "slurm/opn/jobs", ids=[last], each_task=True)] == [
        last
    ]
    [freed] = output(alice, "slurm/opn/release", jobs=[array])
    assert (freed["result"], freed["states"]) == ("released", {"PENDING": 10})
    [changed] = output(admin, "slurm/opn/update", jobs=[last], time_limit="UNLIMITED", nice=7)
    assert (changed["result"], changed["states"]) == ("updated", {"PENDING": 1})
    unlimited = looked(alice, last)
    assert (unlimited["time_limit"], unlimited["time_left"]) == ("UNLIMITED", "UNLIMITED")
    assert why(alice, last)["time_limit"] == "UNLIMITED"
    [whole] = output(alice, "slurm/opn/update", jobs=[array], nice=9, job_name="stepped")
    assert (whole["applied"], whole["states"]) == (["nice", "job_name"], {"PENDING": 10})
    output(alice, "slurm/opn/cancel", jobs=[array])
    past = eventually(
        lambda: fresh(alice, "slurm/opn/history", start="yesterday", names=["stepped"])["jobs"],
        lambda jobs: any(each["time_limit"] == "UNLIMITED" for each in jobs),
    )
    assert {each["state"] for each in past} == {"CANCELLED"}


def test_jobs_that_administrators_hold_are_theirs_to_release(alice: Caller, admin: Caller) -> None:
    job = submit(alice, "true", **LATER)
    assert results(output(admin, "slurm/opn/hold", jobs=[job])) == {str(job): "held"}
    error = failure(alice.post("slurm/opn/release", {"jobs": [job]}), 424)
    assert "an administrator holds this job (JobHeldAdmin)" in messages(error)[str(job)]
    explained = why(alice, job)
    assert (explained["reason"], explained["kind"]) == ("JobHeldAdmin", "held_by_administrator")
    assert results(output(admin, "slurm/opn/release", jobs=[job])) == {str(job): "released"}
    assert results(output(admin, "slurm/opn/hold", jobs=[job], uhold=True)) == {str(job): "held"}
    assert results(output(alice, "slurm/opn/release", jobs=[job])) == {str(job): "released"}
    output(alice, "slurm/opn/cancel", jobs=[job])


def test_jobs_are_requeued_while_the_queue_has_them(alice: Caller, bed: Testbed) -> None:
    running, failed = submit(alice, "sleep 60"), submit(alice, "exit 3")
    never = submit(alice, "exit 4", requeue=False)
    line = "sbatch --parsable -p batch --begin=now+1hour : -p batch --wrap 'sleep 300'"
    mixed = bed.machine.run(["su", "-", "alice", "-c", line]).strip()
    ending(alice, failed)
    ending(alice, never)
    started(alice, running)
    answer = output(alice, "slurm/opn/requeue", jobs=[running])
    assert results(answer)[str(running)] == "requeued"
    assert set(answer[0]["states"]) == {"PENDING"}
    again = output(alice, "slurm/opn/requeue", jobs=[running])
    assert results(again) == {str(running): "pending"}
    assert looked(alice, running)["restarts"] == 1
    held = output(alice, "slurm/opn/requeue", jobs=[failed], hold=True)
    assert results(held) == {str(failed): "held"}
    assert why(alice, failed)["kind"] == "held"
    assert results(output(alice, "slurm/opn/release", jobs=[failed])) == {str(failed): "released"}
    error = failure(alice.post("slurm/opn/requeue", {"jobs": [never, f"{mixed}+1"]}), 424)
    assert "--no-requeue" in messages(error)[str(never)]
    assert "heterogeneous" in messages(error)[f"{mixed}+1"]
    output(alice, "slurm/opn/cancel", jobs=[running, failed, mixed])
    for action in ("hold", "release", "requeue"):
        error = failure(alice.post(f"slurm/opn/{action}", {"jobs": ["999999"]}), 404)
        assert error["type"] == "JobNotFound", action


def test_pending_jobs_are_changed_and_the_change_is_seen(alice: Caller) -> None:
    other = submit(alice, "true", **LATER)
    job = submit(alice, "true", **LATER)
    change = {"time_limit": "9:30", "partition": "debug", "nice": 50, "job_name": "it's new"}
    change |= {"dependency": f"afterok:{other}", "nodes": 2}
    [done] = output(alice, "slurm/opn/update", jobs=[job], **change)
    assert (done["result"], set(done["applied"])) == ("updated", {*change})
    found = looked(alice, job)
    assert (found["time_limit"], found["partition"], found["nodes"]) == (600, "debug", 2)
    assert (found["name"], found["dependency"]) == ("it's new", f"afterok:{other}(unfulfilled)")
    explained = why(alice, job)
    assert explained["depends_on"][0]["states"] == {"PENDING": 1}
    [done] = output(alice, "slurm/opn/update", name="it's new", state="PENDING", dependency="none")
    assert (done["id"], done["result"], looked(alice, job)["dependency"]) == (
        str(job),
        "updated",
        None,
    )
    array = submit(alice, "true", array="0-9%2", **LATER)
    [done] = output(alice, "slurm/opn/update", jobs=[array], at_once=5, time_limit=3)
    assert (done["result"], done["states"]) == ("updated", {"PENDING": 10})
    error = failure(alice.post("slurm/opn/update", {"jobs": [job], "partition": "none"}), 424)
    # Slurm 26.05 ignores the name "none" without a word.
    assert re.search("Invalid partition|not changed partition", messages(error)[str(job)])
    error = failure(alice.post("slurm/opn/update", {"jobs": [job], "nice": -5}), 424)
    assert "only an administrator may" in messages(error)[str(job)]
    output(alice, "slurm/opn/cancel", jobs=[other, job, array])


def test_of_running_jobs_slurm_changes_little_and_says_so(alice: Caller, bob: Caller) -> None:
    job = submit(alice, "sleep 60")
    started(alice, job)
    [done] = output(alice, "slurm/opn/update", jobs=[job], time_limit=4, job_name="shorter")
    assert (done["result"], looked(alice, job)["time_limit"]) == ("updated", 240)
    error = failure(alice.post("slurm/opn/update", {"jobs": [job], "time_limit": 50}), 424)
    assert "only an administrator may extend" in messages(error)[str(job)]
    error = failure(alice.post("slurm/opn/update", {"jobs": [job], "partition": "debug"}), 424)
    assert "no longer pending" in messages(error)[str(job)]
    error = failure(bob.post("slurm/opn/update", {"jobs": [job], "time_limit": 1}), 424)
    assert "a job of alice" in messages(error)[str(job)]
    output(alice, "slurm/opn/cancel", jobs=[job])
    [done] = output(alice, "slurm/opn/update", jobs=[job], time_limit=1)
    assert (done["result"], done["applied"]) == ("had_ended", [])


@pytest.fixture
def one_job_at_once(bed: Testbed) -> Iterator[None]:
    """Limit the QOS `high` to one running job of each user."""
    change = ["sacctmgr", "-i", "modify", "qos", "high", "set"]
    bed.machine.run([*change, "MaxJobsPerUser=1"])
    yield
    bed.machine.run([*change, "MaxJobsPerUser=-1"])


@pytest.mark.usefixtures("one_job_at_once")
def test_why_says_for_what_jobs_wait(alice: Caller, bed: Testbed) -> None:
    failed = submit(alice, "exit 3")
    ending(alice, failed)
    child = submit(alice, "true", dependency=f"afterok:{failed}", kill_on_invalid_dep=False)
    long = submit(alice, "true", partition="debug", time_limit=2000)
    limited = [submit(alice, "sleep 60", qos="high") for _ in range(2)]
    create = "starttime=now+1hour duration=60 users=alice nodes=cn04 reservationname=later"
    bed.machine.run(["scontrol", "create", "reservation", *create.split()])
    try:
        reserved = submit(alice, "true", reservation="later")
        expected = {
            child: ("DependencyNeverSatisfied", "dependency_failed"),
            long: ("PartitionTimeLimit", "partition_limit"),
            limited[1]: ("QOSMaxJobsPerUserLimit", "limit_in_use"),
            reserved: ("Reservation", "reservation"),
        }
        found = {}
        for job, (reason, kind) in expected.items():
            found[job] = eventually(
                lambda job=job: why(alice, job),  # type: ignore[misc]
                lambda each, reason=reason: each["reason"] == reason,  # type: ignore[misc]
            )
            assert (found[job]["kind"], found[job]["state"]) == (kind, "PENDING")
            assert found[job]["meaning"] and found[job]["advice"] and found[job]["since"]
    finally:
        output(alice, "slurm/opn/cancel", jobs=[child, long, *limited, reserved])
        bed.machine.run(["scontrol", "delete", "reservationname=later"])
    [condition] = found[child]["depends_on"]
    assert (condition["job"], condition["status"]) == (str(failed), "failed")
    assert condition["states"] == {"FAILED": 1}
    limit = found[limited[1]]["limit"]
    assert limit == {"name": "MaxJobsPU", "owner": "qos high", "value": "1"}
    assert found[reserved]["reservation"]["name"] == "later"
    assert found[reserved]["reservation"]["state"] == "INACTIVE"


def test_why_says_how_jobs_ended_and_shows_the_end_of_the_output(alice: Caller) -> None:
    line = "seq 5; echo to the end >&2; test $SLURM_ARRAY_TASK_ID = 2 && no-such-program; exit $?"
    array = submit(alice, line, array="1-3", error="why-%A_%a.err")
    running, killed = submit(alice, "echo at work; sleep 60"), submit(alice, "kill -9 $$")
    started(alice, running)
    shown = eventually(lambda: why(alice, running), lambda each: each["stdout"] is not None)
    assert (shown["kind"], shown["state"], shown["advice"]) == ("none", "RUNNING", None)
    cancelled = submit(alice, "true", **LATER)
    output(alice, "slurm/opn/cancel", jobs=[running, cancelled])
    for ended in (array, killed):
        ending(alice, ended)
    for look in range(2):
        found = why(alice, array, lines=2)
        assert (found["id"], found["explained"]) == (str(array), f"{array}_1"), look
        assert (found["kind"], found["exit_code"]) == ("exit_code", 1)
        second = why(alice, f"{array}_2", lines=2)
        assert (second["exit_code"], second["reason"]) == (127, "NonZeroExitCode")
        assert "command was not found" in second["meaning"]
        assert second["stdout"]["text"] == "4\n5\n"
        assert second["stderr"]["text"].startswith("to the end\n")
        assert "no-such-program" in second["stderr"]["text"]
        assert sum(each["count"] for each in found["parts"]) == 3
        assert why(alice, killed)["reason"] == "RaisedSignal:9"
        assert why(alice, cancelled)["meaning"] == "The job was cancelled by alice."
        if look == 0:
            for job in (array, killed, cancelled):
                out_of_the_queue(alice, job)
    error = failure(alice.post("slurm/opn/requeue", {"jobs": [array, 999999]}), 424)
    assert "submit it again" in messages(error)[str(array)]
    assert failure(alice.post("slurm/opn/why", {"id": "999999"}), 404)["type"] == "JobNotFound"
