"""Actions on jobs, with a real Slurm: submit, sweep, wait, cancel, read output."""

import contextlib
import time
from typing import Any

import pytest

from tests.support.centre import output
from tests.support.service import Caller, failure
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(240)

HURTFUL = 'it\'s, $(id) `id` "q" \\ %x\r\n#SBATCH --hold\nü 😀'
NAME = '-x, it\'s "q" $(id) a|b ~ ü 😀'


def submit(caller: Caller, line: str, **options: Any) -> int:
    """Submit `#!/bin/sh` and a line; the number of the job."""
    given = {"partition": "batch", "time_limit": 5, **options}
    job: int = output(caller, "slurm/opn/submit", script=f"#!/bin/sh\n{line}\n", **given)["job"]
    return job


def ending(caller: Caller, id: object, **options: Any) -> Any:
    return output(caller, "slurm/opn/wait", id=id, **{"timeout": 50, **options})


def written(caller: Caller, id: object, **options: Any) -> Any:
    return output(caller, "slurm/opn/output", id=id, **options)


def out_of_the_queue(caller: Caller, job: int) -> None:
    """Wait until the queue has forgotten a job that has ended: MinJobAge and some seconds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = caller.post("slurm/cmd/scontrol", {"input": f"show job {job}"})
        if answer.status_code == 424:
            return
        time.sleep(1)
    raise AssertionError(f"job {job} is still in the queue")


def test_submitted_job_has_the_environment_arguments_and_folder_that_were_given(
    alice: Caller,
) -> None:
    output(alice, "utils/cmd/mkdir", parents=True, input=["a'; echo ü/runs 1"])
    job = submit(
        alice,
        'printf "%s|" "$A" "$B" "$@"; pwd; echo "$SLURM_JOB_NAME"; echo oops >&2',
        environment={"A": HURTFUL, "B": ""},
        arguments=["-x", HURTFUL],
        chdir="a'; echo ü/runs 1",
        job_name=NAME,
        output="out %x.txt",
        error="%j-%x's.err",
        memory_per_cpu=100,
        ntasks=2,
        comment=HURTFUL.replace("\r\n", " ").replace("\n", " "),
    )
    done = ending(alice, job)
    assert done == {
        "id": str(job),
        "ended": True,
        "succeeded": True,
        "state": "COMPLETED",
        "states": {"COMPLETED": 1},
        "reason": None,
        "exit_code": 0,
        "signal": 0,
        "failed": [],
    }
    shown = written(alice, job)
    assert shown["text"] == f"{HURTFUL}||-x|{HURTFUL}|/home/alice/a'; echo ü/runs 1\n{NAME}\n"
    assert shown["ended"] and shown["next_offset"] == shown["size"] == len(shown["text"].encode())
    assert written(alice, job, stream="stderr")["text"] == "oops\n"
    out_of_the_queue(alice, job)
    assert written(alice, job)["text"] == shown["text"]
    assert written(alice, job, stream="stderr")["text"] == "oops\n"
    assert ending(alice, job) == done


def test_script_on_the_cluster_is_submitted_by_its_path(alice: Caller) -> None:
    line = 'printf \'#!/bin/sh\\necho "$0 $@"\\n\' > "-x ü\'.sh"'
    output(alice, "core/opn/run", command=line)
    options = {"path": "-x ü'.sh", "arguments": ["-1", "a b"], "time_limit": 5}
    job = output(alice, "slurm/opn/submit", **options)["job"]
    assert ending(alice, job)["succeeded"]
    assert written(alice, job)["text"].endswith(" -1 a b\n")


def test_dry_run_shows_the_script_and_the_options_and_submits_nothing(alice: Caller) -> None:
    options = {
        "script": "#!/bin/sh\n#SBATCH --qos=normal\nhostname\n",
        "modules": ["gcc/12"],
        "job_name": "dry; run",
        "environment": {"A": "b c"},
    }
    answer = alice.post("slurm/opn/submit", options, query={"dry_run": "true"})
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["command"] == "env 'A=b c' sbatch --parsable --export=ALL '--job-name=dry; run' --"
    assert shown["stdin"].splitlines() == [
        "#!/bin/sh",
        "#SBATCH --qos=normal",
        "command -v module >/dev/null || . /etc/profile",
        "module load gcc/12 || exit",
        "hostname",
    ]
    assert (shown["dry_run"], shown["action"]) == (True, "slurm:submit")
    assert "dry; run" not in output(alice, "slurm/cmd/squeue", format="%j", states="all")


def test_options_that_do_not_go_together_are_refused_before_the_queue(alice: Caller) -> None:
    before = alice.newest("task")
    for query in ({}, {"dry_run": "true"}):
        error = failure(alice.post("slurm/opn/submit", {"partition": "batch"}, query=query), 422)
        assert error["faults"] == [{"field": "script", "message": "give either script or path"}]
    assert alice.newest("task") == before


def test_modules_are_loaded_for_the_shell_and_for_python(alice: Caller, bed: Testbed) -> None:
    define = 'module() { MODULES="$*"; export MODULES; test "$2" != missing; }'
    bed.machine.run(["sh", "-c", f"echo '{define}' > /etc/profile.d/modules.sh"])
    shell = "#!/bin/bash\necho $MODULES\n"
    python = "#!/usr/bin/env python3\nimport os, sys\nprint(os.environ['MODULES'], sys.argv[1:])\n"
    scripts = {shell: "load gcc openmpi\n", python: "load gcc openmpi ['a b']\n"}
    for script, expected in scripts.items():
        options = {"script": script, "modules": ["gcc", "openmpi"], "arguments": ["a b"]}
        job = output(alice, "slurm/opn/submit", **options)["job"]
        assert ending(alice, job)["succeeded"], written(alice, job)
        assert written(alice, job)["text"] == expected
    options = {"script": shell, "modules": ["missing"]}
    job = output(alice, "slurm/opn/submit", **options)["job"]
    assert (ending(alice, job)["state"], written(alice, job)["text"]) == ("FAILED", "")


def test_sweep_completes_and_its_results_are_tied_to_the_parameters(
    alice: Caller,
) -> None:
    output(alice, "utils/cmd/mkdir", parents=True, input=["sweep"])
    swept = output(
        alice,
        "slurm/opn/sweep",
        script='#!/bin/sh\necho "$T $SEED $((SEED * SEED))"\n',
        parameters={"T": [280, 290.5], "SEED": {"start": 1, "stop": 30}},
        at_once=40,
        partition="batch",
        job_name=NAME,
        chdir="sweep",
        output="run-%a.txt",
        time_limit=5,
    )
    job = swept["job"]
    assert swept["runs"] == len(swept["values"]) == 60
    task = alice.begin("slurm/opn/wait", {"id": job, "timeout": 180})
    while not (seen := alice.task(task, wait=5))["progress"]:
        assert seen["state"] in ("queued", "running")
    assert seen["progress"]["total"] == 60
    for _ in range(6):
        seen = alice.task(task, wait=30)
        if seen["state"] != "running":
            break
    done = seen["output"]
    assert (done["states"], done["succeeded"]) == ({"COMPLETED": 60}, True)
    line = "cd sweep && for n in $(seq 0 59); do cat run-$n.txt; done"
    printed = output(alice, "core/opn/run", command=line)["stdout"].splitlines()
    values = [(run["T"], run["SEED"]) for run in swept["values"]]
    assert printed == [f"{t} {seed} {seed * seed}" for t, seed in values]
    assert written(alice, f"{job}_47")["text"] == f"{printed[47]}\n"


def test_sweep_gives_python_whatever_values_and_exit_codes_are_its_own(alice: Caller) -> None:
    script = (
        "#!/usr/bin/env python3\n"
        "import multiprocessing, os, sys\n"
        "def name(_): return os.environ['script']\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(ascii(pool.map(name, [0])[0]), sys.path[0])\n"
        "    sys.exit(int(os.environ['CODE']))\n"
    )
    items = [{"script": HURTFUL, "CODE": 0}, {"script": "", "CODE": 3}]
    swept = output(alice, "slurm/opn/sweep", script=script, items=items, time_limit=5)
    done = ending(alice, swept["job"])
    end = {"state": "FAILED", "exit_code": 3, "signal": 0, "reason": "NonZeroExitCode"}
    failed = {"id": f"{swept['job']}_1", "count": 1, **end}
    assert done["failed"] == [failed]
    assert (done["exit_code"], done["state"], done["succeeded"]) == (3, "FAILED", False)
    texts = [written(alice, f"{swept['job']}_{n}")["text"] for n in (0, 1)]
    assert texts == [f"{HURTFUL!a} /home/alice\n", "'' /home/alice\n"]
    left = output(alice, "utils/cmd/ls", all=True)
    assert ".script-" not in left


def test_sweep_that_exceeds_the_cluster_is_refused_with_the_number(alice: Caller) -> None:
    options = {"script": "#!/bin/sh\n", "parameters": {"N": {"start": 1, "stop": 1002}}}
    error = failure(alice.post("slurm/opn/sweep", options), 422)
    assert "gives 1002 runs; this cluster takes at most 1001 (MaxArraySize)" in error["message"]
    long = {"N": {"start": 1, "stop": 1000}, "TEXT": ["x" * 5000]}
    error = failure(alice.post("slurm/opn/sweep", {**options, "parameters": long}), 422)
    assert "this cluster takes at most 4194304 (max_script_size)" in error["message"]
    fits = {"N": {"start": 1, "stop": 1001}}
    swept = output(alice, "slurm/opn/sweep", **{**options, "parameters": fits, "hold": True})
    assert (swept["runs"], swept["values"]) == (1001, None)
    [gone] = output(alice, "slurm/opn/cancel", jobs=[swept["job"]])
    assert (gone["result"], gone["states"]) == ("ended", {"CANCELLED": 1001})


def test_wait_tells_what_a_job_is_when_the_time_is_over(alice: Caller) -> None:
    job = submit(alice, "sleep 300", hold=True)
    done = ending(alice, job, timeout=1)
    assert (done["ended"], done["state"], done["reason"]) == (False, "PENDING", "JobHeldUser")
    output(alice, "slurm/opn/cancel", jobs=[job])
    done = ending(alice, job)
    assert (done["ended"], done["state"], done["succeeded"]) == (True, "CANCELLED", False)


def test_wait_for_an_array_of_which_some_have_left_the_queue(alice: Caller) -> None:
    job = submit(alice, "test $SLURM_ARRAY_TASK_ID = 3 && sleep 20; exit 7", array="0-3")
    done = ending(alice, f"{job}_0")
    assert (done["state"], done["exit_code"]) == ("FAILED", 7)
    time.sleep(8)
    done = ending(alice, job)
    assert (done["states"], done["exit_code"]) == ({"FAILED": 4}, 7)
    assert [part["id"] for part in done["failed"]] == [f"{job}_{n}" for n in range(4)]


def test_a_job_that_never_was_is_told_from_one_that_is_not_there_yet(alice: Caller) -> None:
    for action, id in (("wait", "999999"), ("output", "999999")):
        error = failure(alice.post(f"slurm/opn/{action}", {"id": id}), 404)
        assert "there is no job 999999" in error["message"]


def test_cancel_ends_what_is_named_and_tells_what_had_ended(alice: Caller) -> None:
    ended = submit(alice, "true")
    ending(alice, ended)
    running = submit(alice, "sleep 300")
    array = submit(alice, "sleep 300", array="0-9", hold=True)
    while ending(alice, running, timeout=0)["state"] != "RUNNING":
        time.sleep(0.5)
    jobs = [ended, running, f"{array}_3", f"{array}_[5-6]"]
    answer = output(alice, "slurm/opn/cancel", jobs=jobs)
    results = {each["id"]: each["result"] for each in answer}
    assert results == {
        str(ended): "had_ended",
        str(running): "ended",
        f"{array}_3": "ended",
        f"{array}_[5-6]": "ended",
    }
    left = output(alice, "slurm/opn/jobs", ids=[str(array)])
    assert sum(each["state"] == "PENDING" for each in left) >= 1
    [rest] = output(alice, "slurm/opn/cancel", jobs=[array])
    assert rest["result"] == "ended" and set(rest["states"]) == {"CANCELLED"}
    out_of_the_queue(alice, ended)
    [again] = output(alice, "slurm/opn/cancel", jobs=[ended])
    assert (again["result"], again["states"]) == ("had_ended", {"COMPLETED": 1})


@pytest.mark.parametrize("name", [NAME, "two\nlines, and\n   StdOut=/etc/passwd"])
def test_jobs_are_cancelled_by_names_that_hurt(alice: Caller, name: str) -> None:
    """sbatch itself takes a name with newlines."""
    options = {"job_name": name, "wrap": "sleep 300", "parsable": True, "hold": True}
    jobs = [int(output(alice, "slurm/cmd/sbatch", **options)) for _ in range(2)]
    other = submit(alice, "sleep 300", job_name="other", hold=True)
    answer = output(alice, "slurm/opn/cancel", name=name)
    assert [(each["id"], each["result"]) for each in answer] == [
        (str(job), "ended") for job in jobs
    ]
    assert ending(alice, other, timeout=0)["state"] == "PENDING"
    assert written(alice, other)["text"] == ""
    answer = output(alice, "slurm/opn/cancel", state="PENDING")
    assert [each["id"] for each in answer] == [str(other)]
    assert output(alice, "slurm/opn/cancel", state="PENDING") == []


def test_job_with_a_name_that_hurts_is_waited_for_and_read(alice: Caller) -> None:
    options = {"job_name": "a\n   StdOut=/etc/passwd", "wrap": "echo mine", "parsable": True}
    job = int(output(alice, "slurm/cmd/sbatch", **options))
    assert ending(alice, job)["succeeded"]
    assert written(alice, job)["text"] == "mine\n"
    out_of_the_queue(alice, job)
    assert written(alice, job)["text"] == "mine\n"


def test_signal_reaches_the_batch_script_and_the_job_goes_on(alice: Caller) -> None:
    line = "trap 'echo heard; exit 0' USR1; echo ready; while :; do sleep 0.2; done"
    job = submit(alice, line)
    while written(alice, job)["text"] != "ready\n":
        time.sleep(0.5)
    [sent] = output(alice, "slurm/opn/cancel", jobs=[job], signal="USR1", batch=True)
    assert sent["result"] == "signalled"
    assert ending(alice, job)["succeeded"]
    assert written(alice, job)["text"].endswith("heard\n")


def test_jobs_of_others_are_not_cancelled_and_that_is_said(alice: Caller, bob: Caller) -> None:
    his, hers = submit(bob, "sleep 300", hold=True), submit(alice, "sleep 300", hold=True)
    error = failure(alice.post("slurm/opn/cancel", {"jobs": [his, hers, 999999]}), 424)
    assert f"{his}: Access/permission denied" in error["message"]
    assert "999999: Invalid job id" in error["message"]
    results = {each["id"]: each["result"] for each in error["jobs"]}
    assert results == {str(his): "refused", str(hers): "ended", "999999": "refused"}
    [gone] = output(bob, "slurm/opn/cancel", user="bob")
    assert (gone["id"], gone["result"]) == (str(his), "ended")


def test_output_is_followed_while_the_job_writes(alice: Caller) -> None:
    line = (
        "for n in 1 2 3 4 5 6 7 8; do printf 'ü\\303'; sleep 0.3; printf '\\274%s\\377\\n' $n; done"
    )
    job = submit(alice, line)
    text, part = "", written(alice, job, limit=16)
    while part["text"] or not part["ended"]:
        text += part["text"]
        part = written(alice, job, offset=part["next_offset"], limit=16)
    assert text == "".join(f"üü{n}\ufffd\n" for n in range(1, 9))
    behind = written(alice, job, offset=10_000)
    assert (behind["text"], behind["next_offset"]) == ("", part["size"])
    error = failure(alice.post("slurm/opn/output", {"id": job, "path": "no/such file"}), 424)
    assert "no output file at no/such file" in error["message"]
    assert written(alice, job, path="/etc/hostname")["path"] == "/etc/hostname"


def test_outage_of_slurmctld_is_named_and_a_wait_outlives_it(alice: Caller, bed: Testbed) -> None:
    job = submit(alice, "sleep 25")
    task = alice.begin("slurm/opn/wait", {"id": job})
    while not alice.task(task)["progress"]:
        time.sleep(0.5)
    with contextlib.ExitStack() as outage:
        outage.callback(bed.daemon, "start", "slurmctld")
        bed.daemon("stop", "slurmctld")
        script = {"script": "#!/bin/sh\ntrue\n"}
        actions: dict[str, dict[str, Any]] = {
            "submit": script,
            "sweep": {**script, "parameters": {"A": [1]}},
            "cancel": {"jobs": [job]},
            "wait": {"id": job},
            "output": {"id": job},
        }
        for action, options in actions.items():
            error = failure(alice.post(f"slurm/opn/{action}", options), 424)
            assert (error["type"], error["daemon"]) == ("DaemonUnavailable", "slurmctld"), action
    seen = alice.task(task, wait=60)
    if seen["state"] == "running":
        seen = alice.task(task, wait=60)
    assert seen["output"]["succeeded"], seen
    assert any("slurmctld cannot be reached" in line for line in seen["log"])
