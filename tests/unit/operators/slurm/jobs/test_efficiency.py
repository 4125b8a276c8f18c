"""The efficiency of jobs, from rows of sacct in the forms that sites report."""

from typing import Any

from operators.slurm.jobs import efficiency
from operators.slurm.jobs.efficiency import Efficiency, read_efficiency
from operators.slurm.resources.tres_usage import TresUsage, parse_usage
from resop.testing import FakeShell

QUERY = (
    "sacct --noheader --parsable '--delimiter=~' --format=JobID,State,NCPUS,ElapsedRaw,Timelimit,"
    "End,TotalCPU,AllocTRES,TRESUsageInTot --jobs=7"
)
KIB, MIB = 1 << 10, 1 << 20


def read(*rows: str) -> Efficiency:
    """Return the efficiency of a job with these rows; the limit of each is two hours."""
    cells = [row.split() for row in rows]
    table = [
        [id, state, cpus, elapsed, "02:00:00", ended, total, allocated, usage]
        for id, state, cpus, elapsed, ended, total, allocated, usage in cells
    ]
    text = "".join(
        "".join(f"{'' if cell == '-' else cell}~" for cell in row) + "\n" for row in table
    )
    shell = FakeShell().expect(QUERY, stdout=text)
    found = read_efficiency(shell, "7")
    shell.finished()
    return found


def figures(found: Efficiency, *names: str) -> list[Any]:
    return [(found[name]["used"], found[name]["allocated"], found[name]["parts"]) for name in names]  # type: ignore[literal-required]


def test_tasks_of_a_step_and_nodes_of_a_job_count_together() -> None:
    """troycomi/reportseff#41 and #16: seff and reportseff disagree by tasks and by nodes."""
    eight_tasks = read(
        "7 COMPLETED 8 53 1700000053 06:57.815 cpu=8,mem=16000M,node=1 -",
        "7.batch COMPLETED 8 53 1700000053 00:00.034 cpu=8,mem=16000M cpu=00:00:00,mem=20264K",
        "7.extern COMPLETED 8 53 1700000053 00:00.001 cpu=8,mem=16000M cpu=00:00:00,mem=1052K",
        "7.0 COMPLETED 8 52 1700000053 06:57.779 cpu=8,mem=16000M cpu=00:06:50,mem=15578208K",
    )
    assert figures(eight_tasks, "cpu", "memory") == [
        (417.815, 424, 1),
        (15578208 * KIB, 16000 * MIB, 1),
    ]
    assert (eight_tasks["cpu"]["ratio"], eight_tasks["memory"]["ratio"]) == (0.9854, 0.9508)
    two_nodes = read(
        "7 COMPLETED 16 27363 1700000053 4-23:56:21 cpu=16,mem=64G,node=2 -",
        "7.0 COMPLETED 16 27363 1700000053 4-23:56:21 cpu=16,mem=64G cpu=4-23:50:00,mem=15.40G",
    )
    assert two_nodes["memory"]["ratio"] == 0.2406
    assert two_nodes["time"]["used"] == 27363


def test_what_was_not_recorded_is_unknown_and_not_zero() -> None:
    """NCATSTranslator/Babel#832: a cluster that gathers nothing; and jobs without any sample."""
    silent = {
        "no gatherer": [
            "7 COMPLETED 4 60 1700000060 00:00:00 cpu=4,mem=2G -",
            "7.batch COMPLETED 4 60 1700000060 00:00:00 cpu=4,mem=2G -",
        ],
        "no step": ["7 COMPLETED 4 60 1700000060 00:00:00 cpu=4,mem=2G -"],
    }
    for name, rows in silent.items():
        found = read(*rows)
        assert figures(found, "cpu", "memory") == [(None, 240, 1), (None, 2 << 30, 1)], name
        assert found["reason"] == efficiency.NOT_RECORDED, name
        assert found["time"]["ratio"] == 0.0083, name
    short = read(
        "7 COMPLETED 4 1 1700000060 00:00.900 cpu=4,mem=2G -",
        "7.batch COMPLETED 4 1 1700000060 00:00.900 cpu=4,mem=2G cpu=00:00:00,mem=0",
    )
    assert figures(short, "cpu", "memory") == [(0.9, 4, 1), (None, 2 << 30, 1)]
    assert short["reason"] == efficiency.NOT_RECORDED
    without_memory = read(
        "7 COMPLETED 4 10 1700000060 00:20 cpu=4 -",
        "7.batch COMPLETED 4 10 1700000060 00:20 cpu=4 cpu=00:00:20,mem=5M",
    )
    assert figures(without_memory, "cpu", "memory", "gpu") == [
        (20, 40, 1),
        (None, None, 0),
        (None, None, 0),
    ]


def test_job_that_runs_waits_or_never_ran_has_no_figures() -> None:
    cases = {
        efficiency.NOT_ENDED: "7 RUNNING 4 60 Unknown 00:00:00 cpu=4,mem=2G -",
        efficiency.NO_RUN_TIME: "7 CANCELLED 0 0 1700000060 00:00:00 - -",
    }
    for reason, row in cases.items():
        found = read(row)
        assert (found["reason"], found["cpu"]["ratio"]) == (reason, None)
    assert read()["reason"] == efficiency.NOT_ACCOUNTED


def test_lost_cpu_time_is_that_of_the_samples() -> None:
    """NordicHPC/slurm2sql#22: TotalCPU is 0 in a release, TRESUsageInTot is not."""
    lost = read(
        "7 COMPLETED 2 100 1700000060 00:00:00 cpu=2,mem=2G -",
        "7.batch COMPLETED 2 100 1700000060 00:00:00 cpu=2 cpu=00:01:30,mem=500M",
        "7.0 COMPLETED 2 100 1700000060 00:00:00 cpu=2 cpu=00:01:00,mem=600M",
    )
    assert figures(lost, "cpu", "memory") == [(150, 200, 1), (600 * MIB, 2 << 30, 1)]


def test_parts_of_an_array_are_summed_up() -> None:
    """ycrc/seff-array#24: the memory of an array's tasks is that of each task."""
    array = read(
        "7_1 COMPLETED 20 130 1700000060 00:11:28 cpu=20,mem=8G -",
        "7_1.batch COMPLETED 20 130 1700000060 00:11:28 cpu=20 cpu=00:11:20,mem=6G",
        "7_2 OUT_OF_MEMORY 20 210 1700000060 00:25:51 cpu=20,mem=8G -",
        "7_2.batch OUT_OF_MEMORY 20 210 1700000060 00:25:51 cpu=20 cpu=00:25:50,mem=8G",
        "7_3 COMPLETED 20 1 1700000060 00:00:00 cpu=20,mem=8G -",
        "7_3.batch COMPLETED 20 1 1700000060 00:00:00 cpu=20 -",
        "7_4 RUNNING 20 10 Unknown 00:00:00 cpu=20,mem=8G -",
        "7_[5-9] PENDING 20 0 Unknown 00:00:00 - -",
    )
    assert figures(array, "cpu", "memory") == [(2239, 6800, 2), (14 << 30, 16 << 30, 2)]
    assert array["time"]["parts"] == 3
    assert array["reason"] is None


def test_gpus_are_counted_by_their_highest_utilization() -> None:
    rows = ["7 COMPLETED 2 100 1700000060 01:00 cpu=2,mem=2G,{} -"]
    step = "7.0 COMPLETED 2 100 1700000060 01:00 cpu=2 cpu=00:01:00,mem=5M"
    rows.append(step + ",gres/gpumem=72532M,gres/gpuutil=150")
    for gres in ("gres/gpu=2", "gres/gpu:a100=2", "gres/gpu=2,gres/gpu:a100=2"):
        found = read(rows[0].format(gres), rows[1])
        assert figures(found, "gpu") == [(1.5, 2, 1)], gres
        assert found["gpu_memory"] == 72532 * MIB
    unknown = read(rows[0].format("gres/gpu=2"), step)
    assert (figures(unknown, "gpu"), unknown["gpu_memory"]) == ([(None, 2, 1)], None)
    assert unknown["reason"] is None


def test_usage_of_a_step_is_parsed() -> None:
    text = "cpu=1-00:00:11,energy=0,fs/disk=87613,gres/gpumem=2G,gres/gpuutil=100,mem=628748K"
    assert parse_usage(text) == TresUsage(86411, 628748 * KIB, 1.0, 2 << 30)
    for nothing in ("", "cpu=12", "mem=0", "energy=0", "billing"):
        assert parse_usage(nothing) == TresUsage(None, None, None, None), nothing
