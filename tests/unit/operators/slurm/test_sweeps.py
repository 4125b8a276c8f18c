"""Waits that are resumed, reasons that never end, records and file names of arrays."""

from typing import Any

from operators.slurm import listings
from operators.slurm.arrays import member_files
from operators.slurm.arrays.array_members import ArrayMember
from operators.slurm.arrays.array_record import ArrayRecord, describes
from operators.slurm.arrays.index_ranges import format_indexes
from operators.slurm.job_types import Job
from operators.slurm.parsing import JobId, expand_indexes
from operators.slurm.reasons.job_reasons import never_starts
from operators.slurm.submission.job_request import JobRequest
from operators.slurm.waiting import wait_state
from resop.testing import FakeShell

SEPARATOR = listings.separator
"""The function itself: unit tests of operations replace it by a fixed word."""

QUEUE = (
    "squeue --noheader --all '--format=%i~%A~%j~%u~%a~%P~%q~%T~%r~%D~%N~%C~%V~%S~%e~%M~%l~%L~%Z~%E"
    "~%Q~%b~%f~%o~%k~' --states=all --jobs=4242"
)
ROW = (
    "{}~{}~sim~alice~project1~{}~normal~{}~{}~1~cn01~1~1700000000~1700000060~1700003660~1:30~1:00:00"
    "~58:30~/home/alice~(null)~1000~N/A~(null)~(null)~(null)~\n"
)
LOOK = "squeue --noheader --all '--format=%i %T %r' --states=all --jobs=4242"


def test_separators_are_new_ones_except_for_an_operation_that_may_be_resumed() -> None:
    def several() -> list[str]:
        return [SEPARATOR() for _ in range(3)]

    assert len({*several(), *several()}) == 6
    with listings.repeatable_separators("4242"):
        first = several()
    with listings.repeatable_separators("4242"):
        assert several() == first
    with listings.repeatable_separators("4243"):
        assert not {*several()} & {*first}
    assert len(set(first)) == 3


def test_wait_measures_time_by_the_login_nodes_clock() -> None:
    shell = FakeShell()
    shell.expect(QUEUE, stdout=ROW.format(4242, 4242, "batch", "RUNNING", "None"))
    for second in (100, 130, 161):
        shell.expect(LOOK, stdout=f"{second}\n1 2\nRUNNING None| 4242\n")
    state = wait_state.WaitState(shell, [JobId(4242)])
    left = []
    while not state.is_over("all") and state.time_left(60, began=0x7FFF_FFFF) > 0:
        state.look(60)
        left.append(state.time_left(60, began=0x7FFF_FFFF))
    assert left == [60, 30, -1]
    shell.finished()


def test_jobs_that_never_start_are_told_from_those_that_wait() -> None:
    for reason in (
        *("DependencyNeverSatisfied", "BadConstraints", "InvalidAccount", "InvalidQOS"),
        *("AccountNotAllowed", "QOSNotAllowed", "PartitionTimeLimit", "MaxMemPerLimit"),
        *("QOSMaxWallDurationPerJobLimit", "AssocMaxCpuPerJobLimit", "QOSMaxMemoryPerJob"),
        *("QOSMinCpuNotSatisfied", "QOSMinGRES"),
    ):
        assert never_starts(reason), reason
    for waits in (
        *(None, "Priority", "Resources", "JobHeldUser", "JobHeldAdmin", "BeginTime", "Dependency"),
        *("QOSMaxCpuPerUserLimit", "QOSMaxJobsPerUserLimit", "AssocGrpCpuLimit", "Licenses"),
        *("AssocMaxJobsLimit", "PartitionNodeLimit", "QOSGrpCpuLimit", "PartitionDown"),
    ):
        assert not never_starts(waits), waits
    # What one of several partitions does not allow, another may.
    assert not never_starts("PartitionTimeLimit", several_partitions=True)
    assert never_starts("DependencyNeverSatisfied", several_partitions=True)


def test_indexes_are_written_as_they_are_read() -> None:
    for text in ("0", "0-1", "3,17,58-60", "0-99", "1,3,5,7"):
        assert format_indexes(expand_indexes(text)) == text
    assert format_indexes([5, 3, 4, 3]) == "3-5"


def member(index: int, **job: Any) -> ArrayMember:
    entry = Job(
        id=f"42_[{index}]",
        job=42,
        raw_id=50,
        task=None,
        tasks=str(index),
        component=None,
        name="it's 100%a",
        user="alice",
        account=None,
        partition="batch",
        qos=None,
        state="PENDING",
        reason=None,
        nodes=1,
        node_names=[],
        cpus=1,
        submitted=None,
        started=None,
        ended=None,
        elapsed=0,
        time_limit=None,
        work_dir="/scratch",
    )
    return ArrayMember(index, 42, 1, entry, None, (None, None))


def test_names_of_files_are_those_of_the_script() -> None:
    runs: dict[int, dict[str, Any]] = {7: {"T": 0.5, "ON": True, "NAME": "a/$T %a ${ON}"}}
    request = JobRequest(script="#!/bin/sh\n#SBATCH -o log/%x-%a\n", array="7", runs=runs)
    record = ArrayRecord(job=42, flags=request.flags, request=request)
    cases = {
        "$T.dat": "/scratch/0.5.dat",
        "${ON}/$T-$T": "/scratch/true/0.5-0.5",
        "$NAME": "/scratch/a/$T %a ${ON}",
        "%A_%3a-$SLURM_ARRAY_TASK_ID": "/scratch/42_007-7",
        "~/x-$USER": "x-alice",
        "$HOME/x": "x",
        "/abs/%j": "/abs/50",
        "100%%-$": "/scratch/100%-$",
        "stdout": "/scratch/log/it's 100%a-7",
        "stderr": "/scratch/log/it's 100%a-7",
        "./stdout": "/scratch/./stdout",
    }
    for pattern, path in cases.items():
        found = member_files.find_file(pattern, member(7), record)
        assert found == member_files.Wanted(path), pattern
    for pattern, reason in {
        "$X": "the run has no parameter X",
        "$SLURM_NTASKS": "the run has no parameter SLURM_NTASKS",
    }.items():
        assert member_files.find_file(pattern, member(7), record).reason == reason
    unknown = member_files.find_file("$T", member(7), None)
    assert unknown.reason == "the parameters are not known: there is no record of the array"


def test_record_of_another_job_is_recognized() -> None:
    request = JobRequest(script="#!/bin/sh\n", array="0-3", options={"job_name": 'a "b"'})
    record = ArrayRecord(job=42, flags=request.flags, request=request)
    assert ArrayRecord.model_validate_json(record.model_dump_json(exclude_defaults=True)) == record
    assert describes(record, None)
    assert describes(record, "sbatch --parsable --job-name=a `b` --array=0-3 --")
    assert not describes(record, "sbatch --array=0-3 run.sh")


def test_values_keep_their_types_in_the_record() -> None:
    values: dict[str, Any] = {"A": 1, "B": 1.0, "C": True, "D": "1", "E": "", "F": "ü\u2028\n"}
    request = JobRequest(script="#!/bin/sh\n", array="0", runs={0: values})
    record = ArrayRecord(job=42, flags=[], request=request)
    text = record.model_dump_json(exclude_defaults=True)
    assert "\n" not in text
    read = ArrayRecord.model_validate_json(text).request.runs
    assert read is not None
    assert {name: (type(each), each) for name, each in read[0].items()} == {
        name: (type(each), each) for name, each in values.items()
    }
