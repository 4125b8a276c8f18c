"""Reading command lines of Slurm's clients are distinguished from others."""

from operators.slurm.queries import is_query

QUERIES = (
    "squeue --noheader --all",
    "sacct --jobs=1",
    "sinfo",
    "sreport --parsable2 cluster utilization",
    "sacctmgr --noheader --parsable2 --readonly show user",
    "scontrol --oneliner show job 1",
    "scontrol --clusters=a --all show config",
    "scontrol ping",
    "date +%F",
    "date --file=- +%s",
)
CHANGES = (
    "scancel --quiet 1",
    "sbatch job.sh",
    "srun hostname",
    "sbcast a b",
    "sacctmgr --immediate add user name=a",
    "sacctmgr show user",  # without the option that has sacctmgr itself refuse changes
    "sacctmgr --readonly dump cluster",  # which writes a file
    "scontrol hold 1",
    "scontrol update show=1",
    "scontrol write batch_script 1",
    "scontrol",
    "date --set=1970-01-01",
    "date 010100001970",
    "env A=B sbatch --test-only",
    "rm squeue",
)


def test_only_known_queries_count_as_reading() -> None:
    assert [line for line in QUERIES if not is_query(line.split())] == []
    assert [line for line in CHANGES if is_query(line.split())] == []
