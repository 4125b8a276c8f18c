"""Slurm as sites and users have it: profiles, output files in odd places, drained nodes."""

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from operators.slurm.jobs.job_queue import read_details
from resop.testing import FakeShell
from tests.support.centre import logged_in, output, service
from tests.support.service import Caller, failure
from tests.support.testbed import Testbed
from tests.testbed.test_slurm_actions import ending, out_of_the_queue, submit, written
from tests.testbed.test_slurm_queries import eventually

pytestmark = pytest.mark.timeout(240)

HURTFUL_PROFILE = """
export SQUEUE_STATES=RUNNING SQUEUE_PARTITION=debug SQUEUE_USERS=bob SQUEUE_FORMAT=%i
export SCANCEL_STATE=RUNNING SCANCEL_PARTITION=debug SINFO_PARTITION=debug SACCT_FORMAT=jobid
export TZ=Asia/Tokyo SLURM_CLUSTERS=other SLURM_TIME_FORMAT=relative SCONTROL_ALL=1
export SBATCH_PARTITION=debug SBATCH_OUTPUT=/dev/null SBATCH_ACCOUNT=nobody SBATCH_TIMELIMIT=0
"""


QUICK = {"partition": "batch", "time_limit": 5, "memory": 10}
PATTERNS = [
    *("p1-%%j-%5j.out", "p2-%j-%n-%t-%s-%4a.out", "p3 %x-%u-%J.out", "p4-%A-%q.out"),
    *("p5-\\%j.out", "p6-%N-%j.out", "p7 [%N] %A.out"),
]
LINES = [
    "sbatch --parsable -p batch -o 'h1 x.txt' --comment='a b' id.sh -o no.txt",
    "sbatch --parsable -p batch --wrap 'sh id.sh; true -o no.txt' -o 'h2 %j.txt'",
    "sbatch --parsable -p batch -J 'x -o no.txt' --output 'h3 x.txt' id.sh",
    "sbatch --parsable -p batch -soh4.txt < id.sh",
]


def run(caller: Caller, command: str) -> Any:
    return output(caller, "core/opn/run", command=command)


def fresh(caller: Caller, action: str, **options: Any) -> Any:
    """Return the output of an action that is not shared with an earlier request."""
    answer = caller.post(action, options, query={"fresh": "true"})
    assert answer.status_code == 200, answer.text
    return answer.json()["output"]


def past(caller: Caller, job: int) -> Any:
    """Return a job as soon as the accounting database has it, which takes some seconds."""

    def found() -> list[Any]:
        jobs = fresh(caller, "slurm/opn/history", start="now-1hour")["jobs"]
        return [each for each in jobs if each["job"] == job]

    return eventually(found, bool)[0]


@contextlib.contextmanager
def profile(caller: Caller, bed: Testbed, lines: str) -> Iterator[Caller]:
    """Put lines into the user's ~/.bashrc; yields a caller of a service that has read them.

    bash reads them once for each connection, so a new service opens one.
    """
    user = bed.site.users[0]
    script = (
        f"#!/bin/sh\ncp ~/.bashrc ~/.bashrc-kept 2>/dev/null\ncat >~/.bashrc <<'E'\n{lines}\nE\n"
    )
    output(caller, "core/opn/script", script=script)
    try:
        with (
            service(bed.site) as other,
            logged_in(other, user.name, user.password) as its_caller,
        ):
            yield its_caller
    finally:
        run(caller, "rm ~/.bashrc; mv ~/.bashrc-kept ~/.bashrc || true")


def test_output_is_the_jobs_own_in_the_queue_and_after_it(alice: Caller) -> None:
    script = "#!/bin/sh\necho this is stdout\necho data >results.csv\n"
    run(alice, f"mkdir -p proj && printf '{script}' >proj/conv.sh")
    jobs = []
    for words in (["--input=x", "--output=results.csv"], ["-o", "results.csv"]):
        options = {"path": "~/proj/conv.sh", "arguments": words, **QUICK}
        jobs.append(str(output(alice, "slurm/opn/submit", **options)["job"]))
    sweep = output(
        alice,
        "slurm/opn/sweep",
        script="#!/bin/sh\n#SBATCH -o '~/new-folder/sw %A_%3a.out'\necho run $N\n",
        parameters={"N": {"start": 0, "stop": 2}},
        **QUICK,
    )["job"]
    named = "#!/bin/sh\n#SBATCH -o 'by line %j.txt'\necho by line\n"
    output(alice, "core/opn/script", script=f"#!/bin/sh\ncat >named.sh <<'E'\n{named}E\n")
    script_file = {"parsable": True, "partition": "batch", "time": "5", "input": ["named.sh"]}
    by_line = output(alice, "slurm/cmd/sbatch", **script_file).strip()
    # Each of these jobs prints its number, so the text shows whose file it is.
    by_pattern = [
        submit(alice, "echo $SLURM_JOB_ID", output=pattern, job_name="n m", **QUICK)
        for pattern in PATTERNS
    ]
    lines = "#!/bin/sh\necho '#!/bin/sh\necho $SLURM_JOB_ID' >id.sh\n" + "\n".join(LINES)
    by_hand = output(alice, "core/opn/script", script=lines)["stdout"].split()
    assert len(by_hand) == len(LINES)
    numbers = [*map(str, by_pattern), *by_hand]
    expected = {
        **{job: (f"/home/alice/slurm-{job}.out", "this is stdout\n") for job in jobs},
        **{
            f"{sweep}_{n}": (f"/home/alice/new-folder/sw {sweep}_{n:03}.out", f"run {n}\n")
            for n in range(3)
        },
        by_line: (f"/home/alice/by line {by_line}.txt", "by line\n"),
    }
    all_jobs = [*jobs, sweep, by_line, *numbers]
    for job in all_jobs:
        assert ending(alice, job)["succeeded"]
    for look in range(2):
        for job in numbers:
            assert written(alice, job)["text"] == f"{job}\n", look
        for job, (path, text) in expected.items():
            shown = written(alice, job)
            assert (shown["path"], shown["text"], shown["ended"]) == (path, text, True), look
        for job in all_jobs:
            out_of_the_queue(alice, int(job))


def test_output_is_found_by_what_this_service_submitted(alice: Caller, bed: Testbed) -> None:
    # A site's own sbatch: Slurm's submission line no longer is one of sbatch.
    wrapper = '#!/bin/bash\nexec -a /site/submit "$(type -P -a sbatch | tail -n 1)" "$@"\n'
    run(alice, f"mkdir -p site && printf '%s' '{wrapper}' >site/sbatch && chmod +x site/sbatch")
    with profile(alice, bed, 'export PATH="$HOME/site:$PATH"') as caller:
        job = submit(caller, "echo own", output="own-%j.txt", **QUICK)
        assert ending(caller, job)["succeeded"]
        out_of_the_queue(caller, job)
        assert past(caller, job)["submit_line"].startswith("/site/submit ")
        assert written(caller, job)["text"] == "own\n"
    if " 22." in run(alice, "sbatch --version")["stdout"]:
        error = failure(alice.post("slurm/opn/output", {"id": job}), 424)
        assert "give its path" in error["message"]
    else:  # since 24.05 the accounting database knows the file
        assert written(alice, job)["text"] == "own\n"


def test_script_on_the_cluster_counts_like_one_that_is_sent(alice: Caller) -> None:
    text = """#!/bin/sh
#SBATCH --export=NONE -o ~/sent/%x-%j.txt

echo "$A|${SSH_CONNECTION-none}|$1"
"""
    write = f"#!/bin/sh\ncat >sent.sh <<'E'\n{text}E\n"
    output(alice, "core/opn/script", script=write)
    for ends in ("unix", "dos"):
        if ends == "dos":
            run(alice, "sed -i 's/$/\\r/' sent.sh")
        options = {"path": "sent.sh", "arguments": ["x y"], "environment": {"A": "b"}, **QUICK}
        assert output(alice, "slurm/opn/start_estimate", **options)["start"]
        job = output(alice, "slurm/opn/submit", **options)["job"]
        assert ending(alice, job)["succeeded"]
        shown = written(alice, job)
        path = f"/home/alice/sent/sent.sh-{job}.txt"
        assert (shown["path"], shown["text"]) == (path, "b|none|x y\n"), ends
    run(alice, "printf '#!/bin/sh\n#SBATCH -o $WORK/x\nid\n' >sent.sh")
    error = failure(alice.post("slurm/opn/submit", {"path": "sent.sh", **QUICK}), 422)
    assert "path: Slurm does not expand" in error["message"]


def test_heterogeneous_job_of_a_script_has_its_components(alice: Caller) -> None:
    script = (
        "#!/bin/sh\n#SBATCH -p batch --mem=10 -t 5 -o ~/mixed/%j.txt\n#SBATCH hetjob\n"
        "#SBATCH -p batch --mem=20 -t 5\necho first\nexit 3\n"
    )
    job, held = (
        output(alice, "slurm/opn/submit", script=script, hold=hold)["job"] for hold in (False, True)
    )
    output(alice, "slurm/opn/cancel", jobs=[held])
    assert ending(alice, job)["state"] == "FAILED"
    whole = fresh(alice, "slurm/opn/job", id=job)
    assert [each["id"] for each in whole["parts"]] == [f"{job}+0", f"{job}+1"]
    for look in range(2):
        assert written(alice, f"{job}+0")["text"] == "first\n", look
        error = failure(alice.post("slurm/opn/output", {"id": f"{job}+1"}), 424)
        assert f"ask for {job}+0" in error["message"] or f"runs in {job}+0" in error["message"]
        explained = fresh(alice, "slurm/opn/why", id=job)
        assert (explained["exit_code"], explained["stdout"]["text"]) == (3, "first\n"), look
        second = fresh(alice, "slurm/opn/job", id=f"{job}+1")
        assert (second["id"], second["resources"]["mem"]) == (f"{job}+1", 20 << 20), look
        out_of_the_queue(alice, job)
    out_of_the_queue(alice, held)
    second = fresh(alice, "slurm/opn/job", id=f"{held}+1")
    assert (second["id"], second["state"]) == (f"{held}+1", "CANCELLED")


def test_variables_of_a_profile_change_no_answer(alice: Caller, bed: Testbed) -> None:
    running = submit(alice, "sleep 60")
    held = submit(alice, "true", hold=True)
    with profile(alice, bed, HURTFUL_PROFILE) as caller:
        assert run(caller, "echo $SQUEUE_STATES")["stdout"] == "RUNNING\n"
        listed = {each["job"]: each for each in fresh(caller, "slurm/opn/jobs")}
        assert {running, held} <= set(listed)
        assert listed[held]["submitted"].startswith("20")
        assert fresh(caller, "slurm/opn/job", id=held)["source"] == "queue"
        assert ending(caller, held, timeout=0)["state"] == "PENDING"
        names = {each["name"] for each in fresh(caller, "slurm/opn/partitions")}
        assert names == {"batch", "debug"}
        assert len(fresh(caller, "slurm/opn/nodes")) == 6
        assert past(caller, running)["job"] == running
        own = {"PATH": "/own/bin:/bin", "A": "sbatch"}
        done = submit(caller, "echo $SLURM_JOB_PARTITION $PATH", environment=own)
        assert ending(caller, done)["succeeded"]
        assert written(caller, done)["text"] == "batch /own/bin:/bin\n"
        answer = output(caller, "slurm/opn/cancel", jobs=[held, running])
        assert {each["result"] for each in answer} == {"ended"}


def test_job_whose_output_has_no_place_is_refused_or_explained(alice: Caller) -> None:
    script = {"script": "#!/bin/sh\necho hi\n", "partition": "batch"}
    named = {**script, "job_name": "a b", "output": "logs/%x/%j.out"}
    if " 22." in run(alice, "sbatch --version")["stdout"]:
        assert "%x" in failure(alice.post("slurm/opn/submit", named), 422)["message"]
    else:  # since 23.02 Slurm creates such a folder
        job = output(alice, "slurm/opn/submit", **named)["job"]
        assert ending(alice, job)["succeeded"]
        assert written(alice, job)["path"] == f"/home/alice/logs/a b/{job}.out"
    refused = {"output": "/proc/no/%j.out", "error": "/proc/no/x", "chdir": "/no/such"}
    for option, path in refused.items():
        error = failure(alice.post("slurm/opn/submit", {**script, option: path}), 422)
        assert error["type"] == "InvalidOptions", option
        assert path.rpartition("/")[0] in error["message"] or path in error["message"]
    job = submit(alice, "echo hi", output="/no/such/%j.out", check_folders=False)
    done = ending(alice, job)
    assert (done["state"], done["exit_code"], done["signal"]) == ("FAILED", 0, 53)
    assert done["reason"] == done["failed"][0]["reason"]
    assert "output file" in done["reason"]
    assert fresh(alice, "slurm/opn/job", id=job)["reason"] == done["reason"]
    assert past(alice, job)["reason"] == done["reason"]


def test_job_that_never_starts_is_not_waited_for(alice: Caller) -> None:
    failing = submit(alice, "exit 3")
    assert ending(alice, failing)["reason"] == "NonZeroExitCode"
    child = submit(alice, "true", dependency=f"afterok:{failing}", kill_on_invalid_dep=False)
    # An hour, which the wait does not take.
    never = ending(alice, child, timeout=3600)
    assert (never["ended"], never["reason"]) == (False, "DependencyNeverSatisfied")
    output(alice, "slurm/opn/cancel", jobs=[child])
    # Slurm itself takes these for met, and would start the job at once.
    out_of_the_queue(alice, failing)
    for dependency, reason in {
        f"afterok:{failing}": f"job {failing} has left the queue as FAILED",
        f"afterany:{failing}:999999": "Slurm knows no job 999999",
    }.items():
        options = {"script": "#!/bin/sh\n", "dependency": dependency}
        error = failure(alice.post("slurm/opn/submit", options), 422)
        assert reason in error["message"]
    met = f"afternotok:{failing},afterany:{failing}"
    if " 22." in run(alice, "sbatch --version")["stdout"]:
        done = submit(alice, "true", dependency=met)
        assert ending(alice, done)["succeeded"]
    else:  # newer releases refuse a job that has left the queue
        options = {"script": "#!/bin/sh\n", "dependency": met}
        error = failure(alice.post("slurm/opn/submit", options), 424)
        assert "Job dependency problem" in error["message"]


def test_variables_reach_a_job_that_exports_none(alice: Caller) -> None:
    given = {"A": "1, 2", "LD_LIBRARY_PATH": "/no/such,/nor/this"}
    lines = "echo $A; echo $LD_LIBRARY_PATH; echo ${SSH_CONNECTION+passed on}"
    texts = {
        submit(alice, f"#SBATCH --export=NONE\n{lines}", environment=given): "",
        submit(alice, lines, environment=given): "passed on",
    }
    for job, inherited in texts.items():
        assert ending(alice, job)["succeeded"]
        assert written(alice, job)["text"] == f"1, 2\n/no/such,/nor/this\n{inherited}\n"


def test_each_attempt_of_a_requeued_job_is_listed(alice: Caller) -> None:
    job = submit(alice, "sleep 60", job_name=f"again-{time.time_ns()}")
    eventually(lambda: fresh(alice, "slurm/opn/job", id=job)["state"], "RUNNING".__eq__)
    output(alice, "slurm/cmd/scontrol", input=f"requeue {job}")
    eventually(lambda: fresh(alice, "slurm/opn/job", id=job)["state"], "PENDING".__eq__)
    output(alice, "slurm/opn/cancel", jobs=[job])

    def attempts() -> list[tuple[str, int]]:
        options = {"start": "now-1hour", "attempts": True}
        listed = fresh(alice, "slurm/opn/history", **options)["jobs"]
        return [(each["state"], each["restarts"]) for each in listed if each["job"] == job]

    assert eventually(attempts, [("CANCELLED", 1), ("REQUEUED", 0)].__eq__)


def test_unknown_partitions_and_accounts_are_refused(alice: Caller) -> None:
    for action, option in (("jobs", "partitions"), ("jobs", "accounts"), ("history", "accounts")):
        error = failure(alice.post(f"slurm/opn/{action}", {option: ["no-such"]}), 422)
        assert error["faults"][0]["field"] == option
        assert "no-such; it shows" in error["message"]


def test_jobs_are_listed_with_memory_and_gpus(alice: Caller) -> None:
    held = {"hold": True, "job_name": f"gpus-{time.time_ns()}"}
    expected = {
        submit(alice, "true", gpus="2", **held): (500 << 20, {"gpu": 2}, 1),
        submit(alice, "true", gres="gpu:a100:1", nodes=2, memory="1GB", **held): (
            2 << 30,
            {"a100": 2},
            2,
        ),
        submit(alice, "true", array="1-3", memory_per_cpu="100m", **held): (100 << 20, {}, 1),
    }
    listed = fresh(alice, "slurm/opn/jobs", names=[held["job_name"]])
    found = {each["job"]: (each["memory"], each["gpus"], each["ntasks"]) for each in listed}
    assert found == expected
    output(alice, "slurm/opn/cancel", name=held["job_name"])


def test_gpus_are_counted_as_if_the_accounting_tracked_none(alice: Caller) -> None:
    cases = {
        "--gpus=2": {"gres/gpu": 2},
        "--gpus=a100:2": {"gres/gpu": 2, "gres/gpu:a100": 2},
        "-N 2 --gres=gpu:a100:1": {"gres/gpu": 2, "gres/gpu:a100": 2},
        "-N 2 --gpus-per-node=1": {"gres/gpu": 2},
        "-n 3 --gpus-per-task=1": {"gres/gpu": 3},
        "-N 2 --sockets-per-node=1 --gpus-per-socket=1": {"gres/gpu": 2},
        "-n 2": {},
    }
    lines = [f"sbatch --parsable -H -p batch --wrap true {words}" for words in cases]
    script = "\n".join(["#!/bin/sh", *lines])
    jobs = output(alice, "core/opn/script", script=script)["stdout"].split()
    for job, (words, gpus) in zip(jobs, cases.items(), strict=True):
        record = output(alice, "slurm/cmd/scontrol", input=f"show job {job}")
        untracked = re.sub(r",gres/gpu[^,\n]*", "", record)
        shell = FakeShell().expect(f"scontrol show job {job}", stdout=untracked)
        details = read_details(shell, job, has_ended=False)
        assert details is not None
        counted = {name: n for name, n in details["resources"].items() if "gpu" in name}
        assert counted == gpus, (words, record)
    output(alice, "slurm/opn/cancel", jobs=jobs)


def test_unknown_jobs_are_not_found(alice: Caller) -> None:
    for action in ("job", "wait", "output"):
        error = failure(alice.post(f"slurm/opn/{action}", {"id": "999999"}), 404)
        assert error["type"] == "JobNotFound", action
    error = failure(alice.post("slurm/opn/cancel", {"jobs": ["999999"]}), 404)
    assert error["jobs"][0]["result"] == "refused"


def test_drained_nodes_are_not_idle_in_nodes_and_partitions(alice: Caller, bed: Testbed) -> None:
    def drain(state: str) -> None:
        words = ["update", "nodename=cn04", f"state={state}", "reason=fan Comment=x broken"]
        bed.machine.run(["scontrol", *words])

    drain("drain")
    try:
        idle = fresh(alice, "slurm/opn/nodes", states=["IDLE"])
        [drained] = fresh(alice, "slurm/opn/nodes", states=["DRAINED"])
        assert "cn04" not in {each["name"] for each in idle}
        assert (drained["name"], drained["status"], drained["accepts_jobs"]) == (
            "cn04",
            "DRAINED",
            False,
        )
        assert (drained["state"], drained["flags"]) == ("IDLE", ["DRAIN"])
        assert drained["reason"]["text"] == "fan Comment=x broken"
        [batch] = fresh(alice, "slurm/opn/partitions", names=["batch"])
        assert batch["nodes_by_state"]["DRAINED"] == 1
        assert batch["gpus_by_type"]["a100"]["total"] == batch["gpus"] == 4
    finally:
        drain("resume")


def test_lines_of_a_cluster_that_is_named(alice: Caller) -> None:
    job = submit(alice, "true", cluster="mini")
    assert ending(alice, job, cluster="mini")["succeeded"]
    for action in ("jobs", "nodes", "partitions", "history", "accounts"):
        assert output(alice, f"slurm/opn/{action}", cluster="mini") is not None
    error = failure(alice.post("slurm/opn/jobs", {"cluster": "other"}), 424)
    assert "other" in error["message"]
