"""Queries for nodes, jobs, accounts and usage, with a real Slurm and during outages."""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testbed.cluster import daemons
from tests.support.centre import output
from tests.support.service import Caller, failure
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(180)

PATIENCE = 60.0
HOSTILE = "-x 'q' \"d\" a|b ~ %i \\n\n4242~4242~forged~\x1e\x1f ü 😀"


def sbatch(caller: Caller, line: str, *words: str, **options: Any) -> int:
    """Submit `#!/bin/sh` and a line; the number of the job."""
    given = {"parsable": True, "partition": "batch", "time": "10", **options}
    script = f"#!/bin/sh\n{line}\n"
    printed = output(caller, "slurm/cmd/sbatch", stdin=script, input=[*words], **given)
    return int(printed)


def cancel(caller: Caller, *jobs: int) -> None:
    output(caller, "slurm/cmd/scancel", input=[str(job) for job in jobs])


def eventually(
    ask: Callable[[], Any], holds: Callable[[Any], bool], patience: float = PATIENCE
) -> Any:
    """Return the answer of `ask` as soon as it `holds`."""
    deadline = time.monotonic() + patience
    while True:
        answer = ask()
        if holds(answer):
            return answer
        assert time.monotonic() < deadline, f"not so after {patience} s: {answer}"
        time.sleep(0.3)


def job(caller: Caller, id: int | str, **options: Any) -> Any:
    return output(caller, "slurm/opn/job", id=str(id), **options)


def ended(caller: Caller, id: int | str) -> Any:
    """Return the job from the accounting database, after it has left the queue."""

    def has_left(found: Any) -> bool:
        return found["source"] == "accounting" and found["ended"] is not None

    return eventually(lambda: job(caller, id), has_left)


def is_recent(moment: str) -> bool:
    """Return True if a time has a zone and is recent, which shows that the zone is right."""
    return timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(moment) < timedelta(minutes=5)


# -- nodes and partitions ---------------------------------------------------------------------


def test_nodes_are_told_with_hardware_and_what_is_allocated(alice: Caller) -> None:
    sleeper = sbatch(alice, "sleep 300", gres="gpu:a100:1", nodelist="gpu02", cpus_per_task=3)
    try:
        eventually(lambda: job(alice, sleeper), lambda found: found["state"] == "RUNNING")
        (node,) = output(alice, "slurm/opn/nodes", names="gpu[02]")
    finally:
        cancel(alice, sleeper)
    assert {
        key: node[key] for key in ("cpus", "sockets", "cores_per_socket", "threads_per_core")
    } == {
        "cpus": 32,
        "sockets": 2,
        "cores_per_socket": 16,
        "threads_per_core": 1,
    }
    assert (node["state"], node["allocated_cpus"]) == ("MIXED", 3)
    assert (node["memory"], node["allocated_memory"]) == (256_000 << 20, 1500 << 20)
    assert node["gpus"] == {"a100": {"total": 2, "allocated": 1, "available": 1}}
    assert (node["partitions"], node["features"]) == (["batch"], ["gpu"])
    assert node["load"] >= 0
    assert node["free_memory"] > 0


def test_nodes_are_filtered_by_partition_and_state(alice: Caller) -> None:
    names = [node["name"] for node in output(alice, "slurm/opn/nodes", partitions=["debug"])]
    assert names == ["cn01", "cn02"]
    assert output(alice, "slurm/opn/nodes", states=["DOWN", "DRAIN"]) == []
    error = failure(alice.post("slurm/opn/nodes", {"names": "cn01,cn99"}), 424)
    assert error["message"] == "Node cn99 not found"


def test_node_out_of_service_says_why_and_since_when(alice: Caller, bed: Testbed) -> None:
    why = "disk full State=IDLE [a@b] ü"
    bed.machine.run(["scontrol", "update", "nodename=cn04", "state=drain", f"reason={why}"])
    try:
        (node,) = output(alice, "slurm/opn/nodes", states=["DRAIN"])
        (batch,) = output(alice, "slurm/opn/partitions", names=["batch"])
    finally:
        bed.machine.run(["scontrol", "update", "nodename=cn04", "state=resume"])
    assert (node["name"], node["state"], node["flags"]) == ("cn04", "IDLE", ["DRAIN"])
    assert (node["reason"]["text"], node["reason"]["by"]) == (why, "root")
    assert is_recent(node["reason"]["since"])
    assert batch["nodes_by_state"]["DRAINED"] == 1
    assert batch["cpus"]["other"] == 16


def test_partitions_are_told_with_limits_and_load(alice: Caller) -> None:
    debug, batch = output(alice, "slurm/opn/partitions")
    assert (debug["name"], debug["is_default"], debug["state"]) == ("debug", True, "UP")
    assert (debug["max_time"], debug["default_time"], debug["max_nodes"]) == (1800, 600, None)
    assert (batch["max_time"], batch["gpus"], batch["nodes"]) == (2 * 24 * 3600, 4, 6)
    assert batch["node_names"] == ["cn01", "cn02", "cn03", "cn04", "gpu01", "gpu02"]
    assert batch["cpus"]["total"] == sum(
        batch["cpus"][key] for key in ("allocated", "idle", "other")
    )
    assert batch["allowed_accounts"] is None


# -- the queue --------------------------------------------------------------------------------


def test_hostile_name_breaks_no_row(alice: Caller, bob: Caller) -> None:
    mine = sbatch(alice, "sleep 300", job_name=HOSTILE, comment="a|b\nc")
    other = sbatch(bob, "sleep 300", job_name="plain")
    try:
        found = output(alice, "slurm/opn/jobs", ids=[str(mine), str(other)])
        by_name = output(bob, "slurm/opn/jobs", names=[HOSTILE])
        one = job(alice, mine)
    finally:
        cancel(alice, mine)
        cancel(bob, other)
    assert [(each["name"], each["user"], each["partition"]) for each in found] == [
        (HOSTILE, "alice", "batch"),
        ("plain", "bob", "batch"),
    ]
    assert found[0]["comment"] == "a|b\nc"
    assert [each["id"] for each in by_name] == [str(mine)]
    assert (one["name"], one["stdout"]) == (HOSTILE, f"/home/alice/slurm-{mine}.out")
    # slurmdbd keeps a backtick for a double quote
    past = ended(alice, mine)
    assert (past["name"], past["state"]) == (HOSTILE.replace('"', "`"), "CANCELLED")
    listed = output(alice, "slurm/opn/history", names=[HOSTILE])
    assert listed["jobs"][0]["id"] == str(mine)


@pytest.fixture
def dotted(bed: Testbed) -> Iterator[str]:
    """Create a user of Slurm whose name has dots and dashes."""
    name = "d.o-t_9.x"
    bed.machine.run(["useradd", "--badname", "--create-home", "--uid", "30123", name])
    try:
        bed.machine.run(["sacctmgr", "-i", "add", "user", name, "account=project1"])
        yield name
        bed.machine.run(["scancel", "--user", name])
        bed.machine.run(["sacctmgr", "-i", "delete", "user", name, "account=project1"])
    finally:
        bed.machine.run(["userdel", "--remove", name])


def test_user_with_dots_and_dashes_is_found(alice: Caller, bed: Testbed, dotted: str) -> None:
    line = "sbatch --parsable --chdir=/tmp --output=/dev/null --wrap 'sleep 1'"
    id = bed.machine.run(["su", dotted, "-c", f"cd / && {line}"]).strip()
    (queued,) = output(alice, "slurm/opn/jobs", users=[dotted], states=["PENDING", "RUNNING"])
    assert (queued["id"], queued["user"], queued["work_dir"]) == (id, dotted, "/tmp")
    assert ended(alice, id)["user"] == dotted
    past = output(alice, "slurm/opn/history", users=[dotted])["jobs"]
    assert past[0]["id"] == id
    (project,) = output(alice, "slurm/opn/accounts", accounts=["project1"], users=[dotted])
    assert [user["user"] for user in project["users"]] == [dotted]


def test_queue_tells_why_and_on_what_jobs_wait(alice: Caller) -> None:
    held = sbatch(alice, "true", hold=True)
    after = sbatch(alice, "true", dependency=f"afterok:{held}")
    later = sbatch(alice, "true", begin="now+1hour")
    sweep = sbatch(alice, "sleep 300", array="1-300:2%2")
    try:
        ids = [str(each) for each in (held, after, later, sweep)]

        def are_placed(found: Any) -> bool:
            return len([each for each in found if each["state"] == "RUNNING"]) == 2

        found = eventually(lambda: output(alice, "slurm/opn/jobs", ids=ids), are_placed)
        waiting = {each["job"]: each for each in found if each["state"] == "PENDING"}
        only = output(alice, "slurm/opn/jobs", ids=ids, states=["RUNNING"])
        none = output(alice, "slurm/opn/jobs", ids=ids, users=["bob"])
        each_task = output(
            alice, "slurm/opn/jobs", ids=[f"{sweep}_7", f"{sweep}_9"], each_task=True
        )
        all_tasks = output(
            alice, "slurm/opn/jobs", ids=[sweep], each_task=True, fields=["task", "state"]
        )["items"]
        whole, task = job(alice, sweep), job(alice, f"{sweep}_299")
    finally:
        cancel(alice, held, after, later, sweep)
    assert waiting[held]["reason"] == "JobHeldUser"
    assert waiting[after]["reason"] == "Dependency"
    assert waiting[after]["dependency"].startswith(f"afterok:{held}(")
    assert waiting[later]["reason"] == "BeginTime"
    begins = datetime.fromisoformat(waiting[later]["expected_start"]) - datetime.now(UTC)
    assert timedelta(minutes=55) < begins <= timedelta(hours=1)
    # all of it: Slurm would cut the list off
    assert waiting[sweep]["tasks"] == "5-299:2%2"
    assert [each["task"] for each in only] == [1, 3]
    assert {each["node_names"][0] for each in only} <= {"cn01", "cn02", "cn03", "cn04"}
    assert all(is_recent(each["started"]) and 500 < each["time_left"] <= 600 for each in only)
    assert none == []
    assert [each["id"] for each in each_task] == [f"{sweep}_7", f"{sweep}_9"]
    assert [each["task"] for each in all_tasks] == [*range(1, 300, 2)]
    assert (whole["state"], whole["states"]) == ("RUNNING", {"PENDING": 148, "RUNNING": 2})
    assert (task["id"], task["state"]) == (f"{sweep}_299", "PENDING")
    assert task["stdout"] == f"/home/alice/slurm-{sweep}_299.out"


def test_unknown_user_is_told(alice: Caller) -> None:
    error = failure(alice.post("slurm/opn/jobs", {"users": ["nobody-here"]}), 424)
    assert "Invalid user: nobody-here" in error["message"]


# -- one job, in the queue and after ----------------------------------------------------------


def test_job_is_found_in_the_queue_and_when_it_has_left_it(alice: Caller) -> None:
    id = sbatch(alice, "sleep 1; exit 3", output="%x-%j.out", job_name="three")
    queued = job(alice, id)
    assert (queued["source"], queued["user"], queued["steps"]) == ("queue", "alice", None)
    stays = eventually(lambda: job(alice, id, steps=True), lambda found: found["ended"])
    assert (stays["state"], stays["exit_code"], stays["signal"]) == ("FAILED", 3, 0)
    assert (stays["source"], stays["reason"]) == ("queue", "NonZeroExitCode")
    past = ended(alice, id)
    assert (past["state"], past["exit_code"], past["name"]) == ("FAILED", 3, "three")
    assert [step["id"] for step in past["steps"]] == ["batch"]
    assert is_recent(past["ended"])
    assert past["elapsed"] >= 1


def test_signal_and_memory_of_a_job_are_told(alice: Caller) -> None:
    eater = "python3 -c 'import time; x = b\"a\" * (200 << 20); time.sleep(6)'; kill -9 $$"
    id = sbatch(alice, eater, mem="900M")
    found = eventually(
        lambda: job(alice, id, steps=True), lambda found: found["max_rss"] and found["ended"]
    )
    assert (found["state"], found["exit_code"], found["signal"]) == ("FAILED", 0, 9)
    assert 200 << 20 <= found["max_rss"] < 300 << 20
    assert found["resources"]["mem"] == 900 << 20


def test_tasks_of_an_array_are_told_whether_they_are_in_the_queue_or_not(alice: Caller) -> None:
    line = "test $SLURM_ARRAY_TASK_ID = 2 && exit 1; test $SLURM_ARRAY_TASK_ID = 3 && sleep 300"
    id = sbatch(alice, line + "; true", array="1-3")
    try:
        first = ended(alice, f"{id}_1")
        assert (first["id"], first["state"]) == (f"{id}_1", "COMPLETED")
        failed = ended(alice, f"{id}_2")
        assert (failed["state"], failed["exit_code"]) == ("FAILED", 1)
        whole = job(alice, id)
        assert (whole["state"], whole["source"]) == ("RUNNING", "queue")
        assert whole["states"] == {"RUNNING": 1, "COMPLETED": 1, "FAILED": 1}
        assert sorted(part["id"] for part in whole["parts"]) == [f"{id}_{n}" for n in (1, 2, 3)]
    finally:
        cancel(alice, id)
    past = ended(alice, id)
    assert past["states"] == {"COMPLETED": 1, "FAILED": 1, "CANCELLED": 1}


def test_components_of_a_heterogeneous_job_are_told(alice: Caller, bed: Testbed) -> None:
    line = "sbatch --parsable {} -p batch --gpus=1 : -p batch --mem=200 --wrap 'sleep 300'"
    id, held = (
        bed.machine.run(["su", "-", "alice", "-c", line.format(option)]).strip()
        for option in ("", "--hold")
    )
    cancel(alice, int(held))
    try:
        whole, second = job(alice, id), job(alice, f"{id}+1")
        listed = output(alice, "slurm/opn/jobs", ids=[f"{id}+1"])
    finally:
        cancel(alice, int(id))
    assert [part["id"] for part in whole["parts"]] == [f"{id}+0", f"{id}+1"]
    assert (second["id"], second["resources"]["mem"]) == (f"{id}+1", 200 << 20)
    assert [each["component"] for each in listed] == [1]
    for started in (id, held):
        past = ended(alice, f"{started}+1")
        assert (past["id"], past["state"]) == (f"{started}+1", "CANCELLED")


def test_job_that_never_was_is_told_from_one_that_is_not_yet_accounted(alice: Caller) -> None:
    id = sbatch(alice, "true")
    assert job(alice, id, steps=True)["id"] == str(id)
    error = failure(alice.post("slurm/opn/job", {"id": "99999999"}), 404)
    assert error["type"] == "JobNotFound"
    assert error["message"].startswith("there is no job 99999999")


# -- history ----------------------------------------------------------------------------------


def test_history_has_all_that_was_even_what_never_ran(alice: Caller, bob: Caller) -> None:
    name = f"hist-{time.time_ns()}"
    began = datetime.now(UTC) - timedelta(seconds=1)
    good = sbatch(alice, "true", job_name=name)
    bad = sbatch(alice, "false", job_name=name)
    held = sbatch(alice, "true", job_name=name, hold=True)
    cancel(alice, held)
    for id in (good, bad, held):
        ended(alice, id)
    span = {"start": began.isoformat(), "names": [name]}
    found = output(alice, "slurm/opn/history", **span)
    assert [each["raw_id"] for each in found["jobs"]] == [held, bad, good]
    assert [each["state"] for each in found["jobs"]] == ["CANCELLED", "FAILED", "COMPLETED"]
    assert [each["started"] is None for each in found["jobs"]] == [True, False, False]
    failed = output(alice, "slurm/opn/history", **span, states=["FAILED"], steps=True)
    assert [each["raw_id"] for each in failed["jobs"]] == [bad]
    assert failed["jobs"][0]["steps"][0]["exit_code"] == 1
    page = output(alice, "slurm/opn/history", **span, limit=2)
    assert (len(page["jobs"]), page["total"], page["next"]) == (2, 3, 2)
    last = output(alice, "slurm/opn/history", **span, limit=2, offset=page["next"])
    assert ([each["raw_id"] for each in last["jobs"]], last["next"]) == ([good], None)
    before = output(alice, "slurm/opn/history", names=[name], start="now-7days", end=span["start"])
    assert before["total"] == 0
    assert output(bob, "slurm/opn/history", **span)["total"] == 0
    assert output(bob, "slurm/opn/history", **span, users=["alice"])["total"] == 3
    assert output(bob, "slurm/opn/history", **span, all_users=True)["total"] == 3


# -- accounts and usage -----------------------------------------------------------------------


def test_accounts_are_a_tree_with_users_and_limits(alice: Caller, bed: Testbed) -> None:
    def sacctmgr(words: str) -> None:
        bed.machine.run(["sh", "-c", f"sacctmgr -i {words}"])

    sacctmgr("add account sub.x-1 parent=project1 description='a|b ü' organization=hpc")
    try:
        sacctmgr("add user alice account=sub.x-1 fairshare=3 maxjobs=5 maxwall=1-00:00:00")
        sacctmgr("modify user alice where account=sub.x-1 set grptres=cpu=10,mem=4G")
        (root,) = output(alice, "slurm/opn/accounts")
        (mine,) = output(alice, "slurm/opn/accounts", accounts=["sub.x-1"], users=["alice"])
    finally:
        sacctmgr("delete account sub.x-1")
    assert (root["name"], root["cluster"]) == ("root", "mini")
    research = next(each for each in root["accounts"] if each["name"] == "research")
    project = next(each for each in research["accounts"] if each["name"] == "project1")
    assert {"alice", "bob", "carol"} <= {user["user"] for user in project["users"]}
    assert all(user["is_default"] for user in project["users"])
    assert [each["name"] for each in project["accounts"]] == ["sub.x-1"]
    assert (mine["description"], mine["qos"]) == ("a|b ü", ["high", "normal"])
    (user,) = mine["users"]
    assert (user["user"], user["is_default"], user["shares"]) == ("alice", False, 3)
    assert (user["limits"]["max_jobs"], user["limits"]["max_wall"]) == (5, 86_400)
    assert user["limits"]["group_resources"] == {"cpu": 10, "mem": 4 << 30}


def test_report_tells_usage_by_user_with_a_total_and_by_month(
    alice: Caller, admin: Caller, bed: Testbed
) -> None:
    id = sbatch(alice, "sleep 2", ntasks=4)
    # slurmdbd knows of its end
    eventually(
        lambda: job(alice, id, steps=True)["steps"], lambda steps: steps and steps[0]["ended"]
    )
    bed.roll_up()
    today = datetime.now(UTC).date()
    last_month = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    asked = {"start": str(last_month), "unit": "seconds", "total": True}
    by_user = {"type": "account_utilization_by_user", "monthly": True, "match": "ali*"}
    found = output(alice, "slurm/opn/report", **by_user, **asked, accounts=["project1"])
    before, now = found["periods"]
    assert before["rows"] == before["total"] == []
    assert before["start"] == f"{last_month}T00:00:00+00:00"
    assert before["end"] == now["start"] == f"{today.replace(day=1)}T00:00:00+00:00"
    assert found["rolled_up"] is None
    if datetime.now(UTC).hour == 0:
        return  # from midnight to now sreport asks its table of days, which lacks the present one
    this_hour = {**asked, "start": datetime.now(UTC).strftime("%Y-%m-%dT%H:00:00")}
    by_user["monthly"] = False
    of_alice = {**by_user, **this_hour, "accounts": ["project1"]}
    (now,) = output(alice, "slurm/opn/report", **of_alice)["periods"]
    (row,) = now["rows"]
    assert (row["account"], row["user"], row["resource"]) == ("project1", "alice", "cpu")
    assert row["figures"]["used"] >= 8
    assert now["total"][0]["figures"] == row["figures"]
    whole = output(admin, "slurm/opn/report", type="utilization", **this_hour)
    figures = whole["periods"][0]["rows"][0]["figures"]
    assert figures["allocated"] >= row["figures"]["used"]
    assert figures["reported"] >= figures["allocated"]
    assert whole["rolled_up"] is not None
    sizes = output(alice, "slurm/opn/report", type="sizes_by_account", **this_hour)
    assert sizes["periods"][0]["total"][0]["figures"]["0-49 CPUs"] > 0
    top = output(
        alice, "slurm/opn/report", type="top_users", **this_hour, resources=["cpu", "gres/gpu"]
    )
    assert {row["resource"] for row in top["periods"][0]["rows"]} == {"cpu", "gres/gpu"}


def test_every_report_answers(admin: Caller) -> None:
    schema = admin.http.get("/slurm/opn/report").json()
    kinds = schema["schema"]["properties"]["type"]["enum"]
    assert len(kinds) == 9
    for kind in kinds:
        found = output(admin, "slurm/opn/report", type=kind, start="2024-01-01", unit="percent")
        assert found["periods"][0]["end"] > found["periods"][0]["start"]


# -- outages ----------------------------------------------------------------------------------

QUESTIONS: dict[str, dict[str, Any]] = {
    "jobs": {},
    "job": {"id": "1"},
    "nodes": {},
    "partitions": {},
    "history": {},
    "accounts": {},
    "report": {"type": "utilization", "start": "2024-01-01"},
    "usage": {"by": "account", "start": "2024-01-01"},
    "budget": {},
}
OF_THE_DATABASE = ("history", "accounts", "report", "usage", "budget")


@contextlib.contextmanager
def without(bed: Testbed, daemon: str) -> Iterator[None]:
    bed.daemon("stop", daemon)
    try:
        yield
    finally:
        bed.daemon("start", daemon)


@contextlib.contextmanager
def stuck(bed: Testbed, daemon: str) -> Iterator[None]:
    """Stop a daemon so that it neither answers nor refuses."""
    pid = str(daemons(bed.site)[daemon].pid(bed.machine))
    bed.machine.run(["kill", "-STOP", pid])
    try:
        yield
    finally:
        bed.machine.run(["kill", "-CONT", pid])


def refused(caller: Caller, names: tuple[str, ...], daemon: str, seconds: float) -> None:
    """Each question is answered within the time by an error that names the daemon."""
    for name in names:
        began = time.monotonic()
        error = failure(
            caller.post(f"slurm/opn/{name}", QUESTIONS[name], query={"fresh": True}), 424
        )
        assert (error["type"], error["daemon"]) == ("DaemonUnavailable", daemon), error
        assert error["message"].startswith(f"{daemon} cannot be reached: ")
        assert error["retryable"] is True
        assert time.monotonic() - began < seconds, name


@pytest.mark.parametrize(
    ("daemon", "named", "asked", "seconds"),
    [
        ("slurmctld", "slurmctld", ("jobs", "nodes"), 9),
        ("slurmdbd", "slurmdbd", OF_THE_DATABASE, 3),
        ("mariadb", "MariaDB", OF_THE_DATABASE, 3),
        ("munge", "munged", ("job", "partitions", "history"), 6),
    ],
)
def test_daemon_that_is_down_is_named(
    alice: Caller, bed: Testbed, daemon: str, named: str, asked: tuple[str, ...], seconds: float
) -> None:
    with without(bed, daemon):
        refused(alice, asked, named, seconds)
    for name in ("jobs", "history"):
        output(alice, f"slurm/opn/{name}")


def test_queue_is_told_while_the_database_is_down(alice: Caller, bed: Testbed) -> None:
    with without(bed, "slurmdbd"):
        id = sbatch(alice, "sleep 60")
        assert job(alice, id)["source"] == "queue"
        assert [each["raw_id"] for each in output(alice, "slurm/opn/jobs", ids=[str(id)])] == [id]
        cancel(alice, id)


def test_stuck_controller_is_named(alice: Caller, bed: Testbed) -> None:
    with stuck(bed, "slurmctld"):
        refused(alice, ("jobs",), "slurmctld", 12)


def test_stuck_munged_is_named(alice: Caller, bed: Testbed) -> None:
    with stuck(bed, "munge"):
        refused(alice, ("jobs",), "munged", 12)
