"""The shipped operators on the real thing: HTTP, the service, OpenSSH, Slurm, and LDAP's users."""

import contextlib
import time
from typing import Any

import pytest

from tests.support.centre import output
from tests.support.service import Caller, Embedded, failure
from tests.support.testbed import Testbed, totp

pytestmark = pytest.mark.timeout(120)

PATIENCE = 60.0


def until(caller: Caller, job: int, state: str) -> None:
    deadline = time.monotonic() + PATIENCE
    shown = ""
    while time.monotonic() < deadline:
        options = {"jobs": job, "noheader": True, "format": "State%20", "allocations": True}
        shown = output(caller, "slurm/cmd/sacct", **options)
        if shown.split()[:1] == [state]:
            return
        time.sleep(0.5)
    raise AssertionError(f"job {job} is not {state} after {PATIENCE} s: {shown!r}")


def test_script_sent_as_text_becomes_a_job_that_completes(alice: Caller) -> None:
    script = "#!/bin/sh\necho \"'$1' it's\" $SLURM_JOB_NAME; hostname; ü\ntrue\n"
    job = output(alice, "slurm/opn/sbatchd", script=script, job_name="it's; $(id) ü", time_limit=5)
    assert isinstance(job, int)
    until(alice, job, "COMPLETED")
    printed = output(alice, "utils/cmd/cat", input=[f"slurm-{job}.out"])
    assert "it's; $(id) ü" in printed


def test_job_in_the_queue_is_seen_and_cancelled(alice: Caller) -> None:
    job = output(alice, "slurm/opn/sbatchd", script="#!/bin/sh\nsleep 300\n", partition="batch")
    assert str(job) in output(alice, "slurm/cmd/squeue", user="alice", noheader=True)
    output(alice, "slurm/cmd/scancel", input=[str(job)])
    until(alice, job, "CANCELLED")


def test_refused_job_tells_what_slurm_said(alice: Caller) -> None:
    answer = alice.post("slurm/opn/sbatchd", {"script": "#!/bin/sh\n", "partition": "nowhere"})
    error = failure(answer, 424)
    assert error["type"] == "CommandFailed"
    assert "Invalid partition" in error["message"]


@pytest.mark.parametrize(
    ("action", "options", "shown"),
    [
        ("slurm/cmd/sinfo", {}, "debug"),
        ("slurm/cmd/scontrol", {"input": "show partition batch"}, "PartitionName=batch"),
        ("slurm/cmd/sacctmgr", {"parsable2": True, "input": "show account"}, "project1|"),
        ("slurm/cmd/sshare", {}, "FairShare"),
        ("slurm/cmd/sprio", {}, "JOBID"),
        ("slurm/cmd/sreport", {"input": "cluster utilization"}, "Cluster"),
        ("slurm/cmd/srun", {"input": "hostname"}, "\n"),
    ],
)
def test_slurm_command_answers(
    alice: Caller, action: str, options: dict[str, Any], shown: str
) -> None:
    assert shown in output(alice, action, **options)


def test_where_a_code_is_wanted_at_every_connection_the_login_says_so(
    running: Embedded, bed: Testbed
) -> None:
    user = bed.site.two_factor
    with contextlib.closing(Caller(f"http://127.0.0.1:{running.ports[0]}")) as nobody:
        without = failure(nobody.login(user.name, user.password), 401)
        assert without["type"] == "OtpRequired"
        otp = totp(str(user.totp_secret))
        options = {"username": user.name, "password": user.password, "otp": otp}
        error = failure(nobody.post("auth/opn/login", options), 502)
    assert "only together with another factor, such as a one-time code" in error["message"]
