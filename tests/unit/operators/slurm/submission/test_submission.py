"""Environment and dependencies for sbatch, its answers, and reasons of ends."""

import pytest

from operators.slurm.reasons.job_reasons import NO_OUTPUT, reason_of_end
from operators.slurm.submission.dependencies import conditions_of
from operators.slurm.submission.submission import parse_answer, pass_environment
from resop import InvalidOptions


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
        (("FAILED", 0, 9, "JobLaunchFailure"), "RaisedSignal:9"),
        (("FAILED", 0, 9, "RaisedSignal:9(Killed)"), "RaisedSignal:9"),
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


def test_variables_are_added_to_what_the_script_exports() -> None:
    given = {"A": "1,2", "B": "it's"}
    own_exports = {
        None: "ALL",
        "ALL": "ALL",
        "all,X=1": "all,X=1",
        "ALL,A=old": "ALL",
        "NONE": "A,B",
        "NIL": "A,B",
        "X,Y=2": "X,Y=2,A,B",
        "A=old,X": "X,A,B",
    }
    for own, export in own_exports.items():
        assert pass_environment(given, own) == (("env", "A=1,2", "B=it's"), (f"--export={export}",))
    assert pass_environment({}, "NONE") == ((), ())


def test_variables_of_the_dynamic_linker_are_not_those_of_sbatch() -> None:
    path = {"LD_LIBRARY_PATH": "/opt/x:/opt/y"}
    assert pass_environment(path, None) == ((), ("--export=ALL,LD_LIBRARY_PATH=/opt/x:/opt/y",))
    assert pass_environment({"LD_PRELOAD": "a,b", "A": ""}, "NONE") == (
        ("env", "A="),
        ("--export='LD_PRELOAD=a,b',A",),
    )
    for value in ("it's", 'a"b'):
        with pytest.raises(InvalidOptions, match="must not contain quotes"):
            pass_environment({"LD_PRELOAD": value}, None)


def test_conditions_of_a_dependency_are_those_that_must_all_be_met() -> None:
    cases = {
        "afterok:20:21,afternotok:23_4": [
            *(("afterok", "20"), ("afterok", "21"), ("afternotok", "23_4")),
        ],
        "after:20+5:21": [("after", "20"), ("after", "21")],
        "afterok:20_*": [("afterok", "20")],
        "afterok:20+1": [],
        "afterok:20?afterany:21": [],
        "singleton": [],
        "": [],
    }
    for dependency, conditions in cases.items():
        assert conditions_of(dependency) == conditions, dependency
