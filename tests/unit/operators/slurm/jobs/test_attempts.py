"""The attempts of requeued jobs, and scripts, as sacct prints them."""

from operators.slurm.jobs.attempts import read_attempts
from operators.slurm.scripts.job_script import stored_script
from resop.testing import FakeShell

QUERY = (
    "sacct --noheader --parsable '--delimiter=~' --format=JobID,User,JobName,State,Submit,"
    "Start,End,ElapsedRaw,NodeList,ExitCode,SubmitLine --duplicates --allocations --jobs=7"
)
SCRIPTS = "sacct --batch-script --jobs=7"
LINE = "-" * 80


def attempts(*rows: str) -> list[tuple[str, int, str, bool, int | None]]:
    """Return the attempts in short: id, number, state, whether it started, exit code."""
    text = "".join(row.replace(" ", "~") + "~\n" for row in rows)
    found = read_attempts(FakeShell().expect(QUERY, stdout=text), "7")
    return [
        (each["id"], each["number"], each["state"], bool(each["started"]), each["exit_code"])
        for each in found
    ]


def test_attempts_are_in_their_order_and_only_those_of_the_job() -> None:
    """troycomi/reportseff#25: a requeued job's earlier attempts are in sacct -D alone."""
    assert attempts(
        "7 alice sim PENDING 1700000300 Unknown Unknown 0  0:0 sbatch",
        "7 alice sim REQUEUED 1700000000 1700000060 1700000100 40 cn01 0:15 sbatch",
        "7 alice sim NODE_FAIL 1700000101 1700000160 1700000200 40 cn[01-02] 1:0 sbatch",
        "7 bob sim COMPLETED 1500000000 1500000060 1500000100 40 cn01 0:0 sbatch",
        "7 alice old COMPLETED 1600000000 1600000060 1600000100 40 cn01 0:0 sbatch",
    ) == [
        ("7", 1, "REQUEUED", True, 0),
        ("7", 2, "NODE_FAIL", True, 1),
        ("7", 3, "PENDING", False, None),
    ]
    assert attempts(
        "7_2 alice sim COMPLETED 1700000000 1700000060 1700000100 40 cn01 0:0 sbatch",
        "7_1 alice sim REQUEUED 1700000000 1700000060 1700000100 40 cn01 0:0 sbatch",
        "7_1 alice sim FAILED 1700000200 1700000260 1700000300 40 cn01 3:0 sbatch",
        "7_[3-9] alice sim PENDING 1700000000 Unknown Unknown 0  0:0 sbatch",
    ) == [
        ("7_1", 1, "REQUEUED", True, 0),
        ("7_1", 2, "FAILED", True, 3),
        ("7_2", 1, "COMPLETED", True, 0),
        ("7_[3-9]", 1, "PENDING", False, None),
    ]
    assert attempts() == []


def test_stored_script_is_returned_as_it_was() -> None:
    script = "#!/bin/sh\n#SBATCH -o x\nNONE\n"
    heading = f"Batch Script for 7_1\n{LINE}\n"
    printed = {
        f"{heading}{script}\n": script,  # 22.05
        f"{heading}{script}": script,  # newer releases
        f"{heading}{script}\nBatch Script for 7_2\n{LINE}\n{script}\n": script,
        f"{heading}NONE\n\n": None,
        f"{heading}NONE\n": None,
        "": None,
    }
    for text, expected in printed.items():
        assert stored_script(FakeShell().expect(SCRIPTS, stdout=text), 7) == expected, text
