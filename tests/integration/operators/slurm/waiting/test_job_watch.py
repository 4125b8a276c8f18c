"""The lines of shell that watch a queue, in the shells of login nodes."""

import shutil
import subprocess

from operators.slurm.waiting.job_watch import WATCH, parse_states

LISTING = """\
4242_[7-9%2] PENDING Priority
4242_6 RUNNING None
NOTE: a banner of the site
4242_5 RUNNING None
4242_10 RUNNING None
4300 FAILED NonZeroExitCode
4301 FAILED NonZeroExitCode
4303 PENDING ReqNodeNotAvail, UnavailableNodes:cn[01-02]
4400+1 RUNNING None
4400+0 RUNNING None
67108863 RUNNING None
"""
STATES = """\
a banner of the site| NOTE:
PENDING Priority| 4242_[7-9%2]
RUNNING None| 4242_5-6 4242_10 4400+0-1 67108863
FAILED NonZeroExitCode| 4300-4301
PENDING ReqNodeNotAvail, UnavailableNodes:cn[01-02]| 4303
"""


def watch(shell: str, listing: str, known: str = "") -> list[str]:
    argv = [shell, "-c", WATCH, "watch", "0.05", "0", known, "printf", "%s", listing]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split("\n", 2)


def test_listing_becomes_a_line_for_each_state_and_reason() -> None:
    for shell in filter(shutil.which, ("dash", "bash", "ksh93", "mksh")):
        time, checksum, states = watch(shell, LISTING)
        assert states == STATES, shell
        assert time.isdecimal()
        assert watch(shell, LISTING, checksum)[1:] == [checksum, states], shell
        backwards = "".join(reversed(LISTING.splitlines(keepends=True)))
        assert sorted(watch(shell, backwards)[2].split()) == sorted(STATES.split()), shell
        assert watch(shell, "")[2].strip() == "", shell
    jobs = {job["id"]: job for line in STATES.splitlines() for job in parse_states(line)}
    assert list(jobs) == [
        *("4242_[7-9%2]", "4242_5", "4242_6", "4242_10", "4400+0", "4400+1", "67108863"),
        *("4300", "4301", "4303"),
    ]
    assert (jobs["4242_6"]["job"], jobs["4242_6"]["task"]) == (4242, 6)
    assert jobs["4242_[7-9%2]"]["tasks"] == "7-9%2"
    assert jobs["4400+1"]["component"] == 1
    assert jobs["4303"]["reason"] == "ReqNodeNotAvail, UnavailableNodes:cn[01-02]"
    assert (jobs["4301"]["state"], jobs["4301"]["reason"]) == ("FAILED", "NonZeroExitCode")


def test_failure_of_squeue_is_passed_on_with_the_time() -> None:
    argv = ["sh", "-c", WATCH, "watch", "0", "5", "", "sh", "-c", "echo no >&2; exit 3"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "no\n")
    assert done.stdout.strip().isdecimal()
