"""The cluster as a whole, with a real Slurm: overview, reservations, QOS, licenses, pages."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operators.slurm.parsing import count_indexes
from tests.support.service import Caller, failure
from tests.support.testbed import Testbed
from tests.testbed.test_slurm_queries import eventually, sbatch
from tests.testbed.test_slurm_sites import fresh

pytestmark = pytest.mark.timeout(180)

PARTS = ("allocated", "available", "unavailable")
NODE_MEMORY = 64_000 << 20
WHOLE = {"nodes": 6, "cpus": 128, "cores": 128, "gpus": 4}


@contextlib.contextmanager
def settings(bed: Testbed, *changes: tuple[str, str]) -> Iterator[None]:
    """Make changes as Slurm's administrator, each with the line that takes it back."""
    with contextlib.ExitStack() as stack:
        for line, back in changes:
            bed.machine.run(["sh", "-c", line])
            stack.callback(bed.machine.run, ["sh", "-c", back])
        yield


def reservation(name: str, words: str) -> tuple[str, str]:
    line = f"scontrol create reservation reservationname='{name}' {words}"
    return line, f"scontrol delete reservation '{name}'"


def drained(node: str) -> tuple[str, str]:
    change = f"scontrol update nodename={node} state="
    return f"{change}drain reason=fan", f"{change}resume"


def parts(capacity: dict[str, int]) -> tuple[int, ...]:
    assert capacity["total"] == sum(capacity[part] for part in PARTS), capacity
    return tuple(capacity[part] for part in PARTS)


def agree(whole: dict[str, Any], nodes: list[dict[str, Any]]) -> bool:
    """Return True if an overview and the nodes, which are read one after the other, agree."""
    sums = {
        name: tuple(sum(each[f"{part}{name}"] for each in nodes) for part in PARTS_OF_NODES)
        for name in ("cpus", "memory")
    }
    told = {name: (whole[name]["total"], *parts(whole[name])[:2]) for name in ("cpus", "memory")}
    gpus = [counts for each in nodes for counts in each["gpus"].values()]
    sums["gpus"] = tuple(sum(each[key] for each in gpus) for key in ("total", *PARTS[:2]))
    told["gpus"] = (whole["gpus"]["total"], *parts(whole["gpus"])[:2])
    return sums == told


PARTS_OF_NODES = ("", "allocated_", "available_")


def test_overview_is_the_sum_of_nodes_and_jobs(alice: Caller, bob: Caller, bed: Testbed) -> None:
    name = f"overview-{time.time_ns()}"
    before = fresh(alice, "slurm/opn/overview")
    assert {key: before[key]["total"] for key in WHOLE} == WHOLE
    with settings(bed, drained("cn04")):
        sbatch(alice, "sleep 100", gres="gpu:a100:1", cpus_per_task=3, mem="100", job_name=name)
        sbatch(bob, "sleep 100", nodelist="cn01", mem="1G", job_name=name)
        sbatch(alice, "true", array="1-20:2", hold=True, job_name=name, partition="batch,debug")

        def seen() -> tuple[Any, Any, Any]:
            overview, nodes, jobs = (
                fresh(alice, f"slurm/opn/{action}") for action in ("overview", "nodes", "jobs")
            )
            return overview, nodes, jobs

        def are_running(answers: tuple[Any, Any, Any]) -> bool:
            whole, nodes, _ = answers
            return whole["jobs"]["by_state"].get("RUNNING") == 2 and agree(whole, nodes)

        whole, nodes, jobs = eventually(seen, are_running)
        for caller in (alice, bob):
            fresh(caller, "slurm/opn/cancel", name=name)
    assert whole["nodes"] == {"total": 6, "allocated": 2, "available": 3, "unavailable": 1}
    assert whole["nodes_by_status"] == {"IDLE": 3, "MIXED": 2, "DRAINED": 1}
    assert parts(whole["gpus"]) == (1, 3, 0)
    assert whole["gpus_by_type"] == {"a100": whole["gpus"]}
    allocated, _, unavailable = parts(whole["cpus"])
    assert (allocated, unavailable) == (4, 16)
    allocated, _, unavailable = parts(whole["memory"])
    assert (allocated, unavailable) == ((1024 + 100) << 20, NODE_MEMORY)
    assert {each["status"] for each in nodes if not each["accepts_jobs"]} == {"DRAINED"}
    counted: Counter[str] = Counter()
    for each in jobs:
        counted[each["state"]] += count_indexes(each["tasks"]) if each["tasks"] else 1
    assert whole["jobs"] == {"total": counted.total(), "by_state": dict(counted)}
    assert whole["own_jobs"] == {"total": 11, "by_state": {"PENDING": 10, "RUNNING": 1}}
    by_name = {each["name"]: each for each in whole["partitions"]}
    debug, batch = by_name["debug"], by_name["batch"]
    assert (debug["state"], debug["is_default"], debug["jobs"]["total"]) == ("UP", True, 10)
    assert batch["jobs"] == whole["jobs"]
    assert parts(batch["gpus"]) == parts(whole["gpus"])
    assert debug["nodes"]["total"] == 2


def test_reservations_say_when_where_and_who(alice: Caller, bob: Caller, bed: Testbed) -> None:
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    later = f"starttime={begin:%Y-%m-%dT%H:%M:%S} duration=1:30:00 flags=overlap"
    changes = [
        reservation("course week 2", f"{later} users=alice nodes=cn[03-04] flags=overlap,daily"),
        reservation("maint", "starttime=now duration=30 users=root nodes=gpu01 flags=maint"),
        reservation("team", f"{later} accounts=research nodecnt=1 partition=batch"),
        reservation("others", f"{later} accounts=-project1 nodecnt=1 partition=batch"),
        reservation("not-bob", f"{later} users=-bob corecnt=2 nodes=cn01"),
    ]
    with settings(bed, *changes):
        found = {each["name"]: each for each in fresh(alice, "slurm/opn/reservations")}
        for_bob = {each["name"]: each for each in fresh(bob, "slurm/opn/reservations")}
        active = fresh(alice, "slurm/opn/reservations", active=True)
        of_node = fresh(alice, "slurm/opn/reservations", nodes=["cn04"])
        # slurmctld marks the nodes of a reservation some seconds after its start
        [gpu01] = eventually(
            lambda: fresh(alice, "slurm/opn/nodes", names="gpu01"),
            lambda found: found[0]["status"] != "IDLE",
        )
        whole = fresh(alice, "slurm/opn/overview")
        refused = {
            name: alice.post(
                "slurm/opn/submit",
                {"script": "#!/bin/sh\ntrue\n", "hold": True, "reservation": name},
            ).status_code
            for name in ("team", "others", "not-bob")
        }
        fresh(alice, "slurm/opn/cancel", user="alice")
    course = found["course week 2"]
    assert (course["node_names"], course["nodes"], course["cores"]) == (["cn03", "cn04"], 2, 32)
    assert (course["start"], course["duration"]) == (begin.isoformat(), 5400)
    assert (course["is_active"], course["state"]) == (False, "INACTIVE")
    assert (course["users"], course["accounts"]) == (["alice"], [])
    assert {"DAILY", "SPEC_NODES"} <= {*course["flags"]}
    assert course["resources"]["cpu"] == 32
    assert found["not-bob"]["cores"] == 2
    assert found["not-bob"]["denied_users"] == ["bob"]
    assert (found["team"]["accounts"], found["team"]["partition"]) == (["research"], "batch")
    assert found["others"]["denied_accounts"] == ["project1"]
    usable = {name: each["may_use"] for name, each in found.items()}
    assert usable == {
        "course week 2": True,
        "maint": False,
        "team": True,
        "others": False,
        "not-bob": True,
    }
    assert {name: for_bob[name]["may_use"] for name in ("course week 2", "not-bob", "team")} == {
        "course week 2": False,
        "not-bob": False,
        "team": True,
    }
    # what Slurm itself says of the same
    assert refused == {"team": 200, "others": 424, "not-bob": 200}
    assert [each["name"] for each in active] == ["maint"]
    assert "course week 2" in {each["name"] for each in of_node}
    assert gpu01["status"] == "MAINT"
    assert (gpu01["available_cpus"], gpu01["gpus"]["a100"]["available"]) == (0, 0)
    assert whole["gpus"] == {"total": 4, "allocated": 0, "available": 2, "unavailable": 2}


def test_qos_are_told_with_their_limits(alice: Caller, bed: Testbed) -> None:
    limits = (
        "maxwall=1-00:00:00 maxjobspu=4 maxsubmitjobspu=10 maxtrespu=cpu=256,gres/gpu=0 "
        "maxtrespa=node=3 grptres=mem=4T,gres/gpu=8 grptresmins=cpu=60000 preempt=normal "
        "preemptmode=requeue flags=DenyOnLimit,OverPartQOS usagefactor=0.5 gracetime=120 "
        "mintres=cpu=2 priority=7 description='a | b ü'"
    )
    made = (f"sacctmgr -i add qos tried {limits}", "sacctmgr -i delete qos tried")
    with settings(bed, made):
        [tried] = fresh(alice, "slurm/opn/qos", names=["tried"])
        [normal] = fresh(alice, "slurm/opn/qos", names=["normal"], cluster="mini")
    told = tried["limits"]
    assert (told["max_wall"], told["max_jobs_per_user"]) == (86_400, 4)
    assert told["max_submitted_jobs_per_user"] == 10
    assert told["max_resources_per_user"] == {"cpu": 256, "gres/gpu": 0}
    assert told["max_resources_per_account"] == {"node": 3}
    assert told["group_resources"] == {"mem": 4 << 40, "gres/gpu": 8}
    assert told["group_resource_minutes"] == {"cpu": 60_000}
    assert told["min_resources"] == {"cpu": 2}
    assert (told["max_jobs_per_account"], told["max_resources"]) == (None, {})
    assert (tried["priority"], tried["preempts"]) == (7, ["normal"])
    assert (tried["preempt_mode"], tried["grace_time"]) == ("requeue", 120)
    assert {*tried["flags"]} == {"DenyOnLimit", "OverPartQOS"}
    assert (tried["usage_factor"], tried["description"]) == (0.5, "a | b ü")
    assert (tried["accounts"], normal["accounts"]) == ([], ["project1"])


def test_licenses_are_told_with_their_use(alice: Caller, bed: Testbed) -> None:
    added = (
        "sacctmgr -i add resource name=ansys server=flex1 servertype=flexlm count=50 type=license "
        "cluster=mini percentallowed=50",
        "sacctmgr -i delete resource where name=ansys server=flex1",
    )
    with settings(bed, added):
        [ansys] = eventually(lambda: fresh(alice, "slurm/opn/licenses"), bool)
        kept = reservation(
            "kept", "starttime=now duration=5 users=root flags=license_only licenses=ansys@flex1:5"
        )
        with settings(bed, kept):
            [reserved] = fresh(alice, "slurm/opn/licenses", names=["ansys@flex1"])
            [held] = fresh(alice, "slurm/opn/reservations", names=["kept"])
    expected = {"name": "ansys@flex1", "total": 25, "used": 0, "free": 25, "reserved": 0}
    assert {key: ansys[key] for key in expected} == expected
    assert (ansys["remote"], reserved["reserved"]) == (True, 5)
    assert held["licenses"] == {"ansys@flex1": 5}
    assert (held["node_names"], held["nodes"]) == ([], 0)
    eventually(lambda: fresh(alice, "slurm/opn/licenses"), lambda found: found == [])


def test_long_answers_come_in_pages(alice: Caller) -> None:
    wanted = {"fields": ["name", "status", "available_memory"], "limit": 4}
    first = fresh(alice, "slurm/opn/nodes", **wanted)
    assert [each["name"] for each in first["items"]] == ["cn01", "cn02", "cn03", "cn04"]
    assert [*first["items"][0]] == wanted["fields"]
    assert (first["total"], first["next"]) == (6, 4)
    last = fresh(alice, "slurm/opn/nodes", **wanted, offset=first["next"])
    assert [each["name"] for each in last["items"]] == ["gpu01", "gpu02"]
    assert (last["total"], last["next"]) == (6, None)
    names = fresh(alice, "slurm/opn/partitions", fields=["name"])
    assert names == {"items": [{"name": "debug"}, {"name": "batch"}], "total": 2, "next": None}
    error = failure(alice.post("slurm/opn/nodes", {"fields": ["cores"]}), 422)
    assert "available_memory" in error["message"]
