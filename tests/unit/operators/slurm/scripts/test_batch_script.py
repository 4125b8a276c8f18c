"""Lines of shell before a batch script, run by real shells."""

from operators.slurm.scripts.batch_script import with_preparation


def test_lines_stand_behind_those_that_sbatch_reads() -> None:
    script = "#!/usr/bin/env -S bash -e\r\n\r\n  # about\r\n#SBATCH --time=5\r\nid\r\n#SBATCH --no"
    assert with_preparation(script, "true\n").splitlines() == [
        *("#!/usr/bin/env -S bash -e", "", "  # about", "#SBATCH --time=5", "true", "id"),
        "#SBATCH --no",
    ]
