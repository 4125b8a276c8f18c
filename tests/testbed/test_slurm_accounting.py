"""Fair shares, priorities, usage over time, budgets and estimates, on a real Slurm."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.centre import output
from tests.support.service import Caller, failure
from tests.support.testbed import Testbed
from tests.testbed.test_slurm_actions import submit
from tests.testbed.test_slurm_queries import cancel, eventually, job
from tests.testbed.test_slurm_sites import fresh

pytestmark = pytest.mark.timeout(120)


def named(accounts: list[Any], name: str) -> Any:
    """Return an account of the tree."""
    for account in accounts:
        if found := account if account["account"] == name else named(account["accounts"], name):
            return found
    return None


def limit(budget: Any, name: str, resource: str | None = None, **belongs: str | None) -> Any:
    """Return the only limit of a name that belongs to something."""
    (found,) = [
        each
        for each in budget["limits"]
        if (each["name"], each["resource"]) == (name, resource)
        and all(each[key] == value for key, value in belongs.items())
    ]
    return found


@pytest.fixture
def sleeper(alice: Caller) -> Iterator[int]:
    """Run a job of four CPUs, until the test is over."""
    number = submit(alice, "sleep 300", partition="batch", ntasks=4, memory=10, time_limit=5)
    eventually(lambda: job(alice, number), lambda found: found["state"] == "RUNNING")
    yield number
    cancel(alice, number)


def test_fair_shares_are_a_tree_with_the_callers_own_marked(
    alice: Caller, bob: Caller, bed: Testbed
) -> None:
    def printed() -> float | None:
        told = bed.machine.run(["sshare", "-nP", "-A", "project1", "-u", "alice", "-o", "LevelFS"])
        text = told.split()[-1]
        return float(text) if text.replace(".", "").isdecimal() else None

    # Not computed here: 26.05 divides by members who have left, and shows the shares without them.
    level = printed()
    mine = fresh(alice, "slurm/opn/fairshare")
    assert (mine["algorithm"], mine["half_life"]) == ("fair_tree", 7 * 24 * 3600)
    (root,) = mine["accounts"]
    research, project = (named([root], name) for name in ("research", "project1"))
    assert all(account["is_mine"] for account in (root, research, project))
    (user,) = project["users"]
    assert (user["user"], user["is_mine"], user["shares"]) == ("alice", True, 1)
    assert 0 < user["normalized_shares"] < 1
    assert 0 <= user["fairshare"] <= 1
    assert project["fairshare"] is None
    assert root["usage"] >= research["usage"] >= project["usage"] >= user["usage"]
    assert user["level_fs"] in (level, printed())  # it may have changed meanwhile
    options = {"accounts": ["project1"], "all_users": True}
    (everybody,) = fresh(bob, "slurm/opn/fairshare", **options)["accounts"]
    marked = {each["user"]: each["is_mine"] for each in everybody["users"]}
    assert marked["bob"] and not marked["alice"]
    (other,) = fresh(alice, "slurm/opn/fairshare", users=["bob"], accounts=["project1"])["accounts"]
    assert [each["user"] for each in other["users"]] == ["bob"]


def test_priority_is_the_sum_of_its_factors(alice: Caller) -> None:
    options = {"partition": "batch", "nodes": "6", "exclusive": True, "time_limit": 5}
    held = submit(alice, "true", hold=True)
    # It needs all nodes, which are busy with the first one.
    first = submit(alice, "sleep 300", **options)
    waiting = submit(alice, "sleep 300", nice=7, array="1-3", **options)
    two = submit(alice, "true", partition="debug,batch", nodes="2", exclusive=True, time_limit=5)
    try:
        ids = [str(each) for each in (held, waiting, two)]

        def ranked() -> Any:
            return fresh(alice, "slurm/opn/priority", ids=ids)

        def all_ranked(found: Any) -> bool:
            return len([each for each in found["jobs"] if each["factors"]]) == 3

        found = eventually(ranked, all_ranked)
    finally:
        cancel(alice, held, first, waiting, two)
    assert (found["weights"]["fairshare"], found["weights"]["age"]) == (1000, 100)
    jobs = found["jobs"]
    assert [each["priority"] for each in jobs] == sorted(
        (each["priority"] for each in jobs), reverse=True
    )
    by_job = {(each["raw_id"], each["partition"]): each for each in jobs}
    assert set(by_job) >= {(waiting, "batch"), (two, "debug"), (two, "batch")}
    for each in jobs:
        if (factors := each["factors"]) is None:
            assert (each["raw_id"], each["priority"]) == (held, 0)
            assert each["reason"] == "JobHeldUser"
            continue
        nice, tres = factors["nice"], factors["tres"]
        others = [value for key, value in factors.items() if key not in ("nice", "tres")]
        total = sum(others) + sum(tres.values()) - nice
        assert each["priority"] == pytest.approx(max(1, total), abs=2)
        assert nice == (7 if each["raw_id"] == waiting else 0)
    assert by_job[waiting, "batch"]["id"] == f"{waiting}_[1-3]"


def test_budget_tells_limits_use_and_where_they_come_from(
    alice: Caller, bed: Testbed, sleeper: int
) -> None:
    def sacctmgr(*words: str) -> None:
        bed.machine.run(["sacctmgr", "-i", "modify", *words])

    account = ("account", "where", "name=project1", "set")
    user = ("user", "where", "name=alice", "account=project1", "set")
    qos = ("qos", "where", "name=normal", "set")
    limits = [
        (*account, "grptres=cpu=50,mem=2000000", "grptresmins=cpu=100000", "maxsubmitjobs=70"),
        (*user, "maxjobs=3"),
        (*qos, "maxtrespu=cpu=40", "grpjobs=90", "maxjobspa=30"),
    ]
    try:
        for words in limits:
            sacctmgr(*words)

        def asked() -> Any:
            return fresh(alice, "slurm/opn/budget")

        def has_all(found: Any) -> bool:  # slurmdbd tells slurmctld
            return len(found["limits"]) >= 8 and limit(found, "group_resources", "cpu")["used"] >= 4

        found = eventually(asked, has_all)
    finally:
        sacctmgr(*account, "grptres=cpu=-1,mem=-1", "grptresmins=cpu=-1", "maxsubmitjobs=-1")
        sacctmgr(*user, "maxjobs=-1")
        sacctmgr(*qos, "maxtrespu=cpu=-1", "grpjobs=-1", "maxjobspa=-1")
    assert (found["enforced"], found["user"], found["cluster"]) == (True, "alice", "mini")
    assert found["accounts"] == ["project1"]
    cpus = limit(found, "group_resources", "cpu", belongs_to="account", account="project1")
    assert (cpus["limit"], cpus["remaining"]) == (50, 50 - cpus["used"])
    memory = limit(found, "group_resources", "mem")
    assert (memory["limit"], memory["used"] % (1 << 20)) == (2_000_000 << 20, 0)
    assert memory["used"] > 0
    minutes = limit(found, "group_resource_minutes", "cpu")
    assert minutes["limit"] == 100_000 == minutes["used"] + minutes["remaining"]
    own = limit(found, "max_jobs", belongs_to="user", user="alice")
    assert (own["limit"], own["used"], own["inherited_from"]) == (3, 1, None)
    inherited = limit(found, "max_submitted_jobs", belongs_to="user")
    assert (inherited["limit"], inherited["inherited_from"]) == (70, "project1")
    each_user = limit(found, "max_resources_per_user", "cpu", qos="normal", user="alice")
    assert (each_user["limit"], each_user["used"]) == (40, 4)
    each_account = limit(found, "max_jobs_per_account", qos="normal", account="project1")
    assert (each_account["limit"], each_account["used"]) == (30, 1)
    assert limit(found, "group_jobs", qos="normal")["limit"] == 90
    error = failure(alice.post("slurm/opn/budget", {"user": "nobody-here"}), 424)
    assert error["message"] == "nobody-here has no account on the cluster mini"


def test_usage_is_told_by_account_user_and_partition(alice: Caller, bed: Testbed) -> None:
    number = submit(alice, "sleep 3", partition="batch", ntasks=4, gres="gpu:a100:1", time_limit=5)

    def has_ended(found: Any) -> bool:
        return bool(found["steps"] and found["steps"][0]["ended"])

    eventually(lambda: job(alice, number, steps=True), has_ended)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    begin, end = hour - timedelta(hours=2), hour + timedelta(hours=1)
    asked: dict[str, Any] = {"start": begin.isoformat(), "end": end.isoformat()}
    asked |= {"interval": "hour", "unit": "seconds", "resources": ["cpu", "gres/gpu", "wheels"]}

    def used(caller: Caller, by: str, **options: Any) -> dict[str | None, Any]:
        found = fresh(caller, "slurm/opn/usage", by=by, **asked | options)
        assert found["untracked"] == ["wheels"]
        assert len(found["periods"]) == 3
        assert found["periods"][0]["start"] == f"{begin:%FT%T}+00:00"
        assert all(len(each["values"]) == 3 for each in found["series"])
        return {each[by]: each for each in found["series"] if each["resource"] == "cpu"}

    def of_users() -> dict[str | None, Any]:
        bed.roll_up()
        return used(alice, "user", accounts=["project1"])

    by_user = eventually(of_users, lambda found: "alice" in found)
    assert by_user["alice"]["values"][-1] >= 12
    by_account = used(alice, "account")
    assert by_account["project1"]["total"] >= by_user["alice"]["total"]
    assert by_account["root"]["total"] >= by_account["project1"]["total"]
    by_partition = used(alice, "partition", partitions=["batch"])
    assert list(by_partition) == ["batch"]
    assert by_partition["batch"]["values"][-1] >= 12
    mine = used(alice, "partition", users=["alice"])
    others = used(alice, "partition", users=["bob"])
    everybody = used(alice, "partition")
    total = [sum(each["total"] for each in of.values()) for of in (mine, others, everybody)]
    assert total[0] >= 12
    assert total[2] >= total[0] + total[1]

    def of_cluster() -> dict[str, float]:
        bed.roll_up()
        # The present hour is asked for: sreport shows a day only up to the last full hour.
        series = fresh(alice, "slurm/opn/usage", by="cluster", **asked)["series"]
        return {each["figure"]: each["total"] for each in series if each["resource"] == "cpu"}

    figures = eventually(of_cluster, lambda found: {"reported", "allocated"} <= {*found})
    assert figures["reported"] >= figures["allocated"] > 0
    months = {"by": "user", "start": str(hour.date() - timedelta(days=40)), "interval": "month"}
    found = fresh(alice, "slurm/opn/usage", **months)
    assert len(found["periods"]) in (2, 3)
    refused = alice.post("slurm/opn/usage", {"by": "user", "start": "2024-05-02T08:00"})
    assert "takes days" in failure(refused, 422)["message"]


def test_start_is_estimated_and_nothing_is_submitted(alice: Caller, sleeper: int) -> None:
    def estimate(**options: Any) -> Any:
        script = {"script": "#!/bin/sh\n#SBATCH -t 5\ntrue\n", "memory": 10}
        return fresh(alice, "slurm/opn/start_estimate", **script | options)

    def begins_in(found: Any) -> timedelta:
        return datetime.fromisoformat(found["start"]) - datetime.now(UTC)

    before = [each["id"] for each in fresh(alice, "slurm/opn/jobs")]
    now = estimate(partition="batch", nodes=2, ntasks=2)
    assert abs(begins_in(now)) < timedelta(minutes=1)
    assert (now["partition"], now["nodes"], len(now["node_names"])) == ("batch", 2, 2)
    assert now["cpus"] >= 2
    assert now["start"] in now["message"]
    # The sleeper has a node of the six for five minutes at most.
    later = estimate(partition="batch", nodes=6, exclusive=True, output="estimated-folder/%j.out")
    assert timedelta(minutes=2) < begins_in(later) < timedelta(minutes=6)
    never = estimate(partition="batch", nodes=7)
    assert (never["start"], never["node_names"]) == (None, [])
    assert "allocation failure: " in never["message"]
    assert "nvalid account" in estimate(account="nobody")["message"]
    missing = failure(alice.post("slurm/opn/start_estimate", {"path": "missing.sh"}), 424)
    assert "missing.sh" in missing["message"]
    assert [each["id"] for each in fresh(alice, "slurm/opn/jobs")] == before
    output(alice, "core/opn/run", command="test ! -e estimated-folder")
