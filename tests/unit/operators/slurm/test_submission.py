"""Answers of sbatch, and reasons of ends."""

from operators.slurm.job_reasons import NO_OUTPUT, reason_of_end
from operators.slurm.submission import parse_answer


def test_id_is_found_among_what_a_site_prints() -> None:
    cases = {
        "4242\n": (4242, None),
        "4242;slaking\n": (4242, "slaking"),
        " 4242 \r\n": (4242, None),
        "Welcome\n3\n4242\n": (4242, None),
        "  Welcome to the Cluster3\n--> Verifying host (login4)...OK\nSubmitted batch job 519605": (
            519605,
            None,
        ),
        "161\nYour job uses 3% of your budget.\n": (161, None),
        "Submitted batch job 4242\n": (4242, None),
        "Note\nSubmitted batch job 4242 on cluster slaking\n": (4242, "slaking"),
    }
    for output, (number, cluster) in cases.items():
        assert parse_answer(output) == {"job": number, "cluster": cluster}, output
    for output in ("", "\n", "Welcome\n", "0\n", "job 4242 accepted\n", "12\n13\nthanks\n"):
        assert parse_answer(output) is None, output


def test_reason_of_an_end_is_why_it_failed_and_not_why_it_waited() -> None:
    cases = [
        (("COMPLETED", 0, 0, "BeginTime"), None),
        (("FAILED", 7, 0, "BeginTime"), "NonZeroExitCode"),
        (("FAILED", 0, 53, "Priority"), NO_OUTPUT),
        (("FAILED", None, 53, "RaisedSignal:53(Real-time_signal_19)"), NO_OUTPUT),
        (("FAILED", 0, 9, None), "RaisedSignal:9"),
        (("FAILED", None, None, "JobLaunchFailure"), "JobLaunchFailure"),
        (("FAILED", None, None, None), None),
        (("TIMEOUT", 0, 15, "Resources"), "TimeLimit"),
        (("OUT_OF_MEMORY", 0, 125, None), "OutOfMemory"),
        (("NODE_FAIL", 0, 0, None), "NodeDown"),
        (("DEADLINE", 0, 0, None), "DeadLine"),
        (("CANCELLED", 0, 15, "Priority"), None),
        (("CANCELLED", 0, 0, "DependencyNeverSatisfied"), "DependencyNeverSatisfied"),
    ]
    for end, reason in cases:
        assert reason_of_end(*end) == reason, end
