"""The check of dependencies on a login node, with programs in place of Slurm's own."""

import os
import subprocess
from pathlib import Path

from operators.slurm.submission.dependencies import CHECK, DEPENDENCY_REFUSED

# Jobs by number: what squeue and sacct print, and with what exit code.
UNKNOWN = ("slurm_load_jobs error: Invalid job id specified", 1)
IN_QUEUE = ("20", 0)
CASES = [
    ("afterok", IN_QUEUE, ("20|FAILED", 0), None),
    ("afterok", UNKNOWN, ("20|COMPLETED", 0), None),
    ("afterok", UNKNOWN, ("20|FAILED", 0), "job 20 has left the queue as FAILED"),
    ("afterok", ("", 0), ("20|CANCELLED by 7", 0), "left the queue as CANCELLED by 7"),
    ("afterok", UNKNOWN, ("20_1|COMPLETED\n20_2|TIMEOUT", 0), "as TIMEOUT"),
    ("aftercorr", UNKNOWN, ("20|OUT_OF_MEMORY", 0), "as OUT_OF_MEMORY"),
    ("afterok", UNKNOWN, ("20|RUNNING", 0), None),
    ("afternotok", UNKNOWN, ("20|COMPLETED", 0), "as COMPLETED"),
    ("afternotok", UNKNOWN, ("20_1|COMPLETED\n20_2|FAILED", 0), None),
    ("afterany", UNKNOWN, ("20|FAILED", 0), None),
    ("afterany", UNKNOWN, ("", 0), "Slurm knows no job 20"),
    ("afterok", UNKNOWN, ("", 0), "Slurm knows no job 20"),
    # What cannot be found out is left to Slurm.
    ("afterok", ("Unable to contact slurm controller", 1), ("20|FAILED", 0), None),
    ("afterok", UNKNOWN, ("Slurm accounting storage is disabled", 1), None),
    ("afterok", UNKNOWN, ("a banner of the site", 0), None),
    ("afterok", ("CLUSTER: big", 0), ("20|NODE_FAIL", 0), "as NODE_FAIL"),
]


def fake_client(folder: Path, program: str, output: str, exit_code: int) -> None:
    file = folder / program
    file.write_text(
        "#!/bin/sh\n"
        f'echo "${{SQUEUE_STATES-unset}} ${{SACCT_FORMAT-unset}} $*" >>"{folder}/{program}.log"\n'
        f"printf '%s' '{output}'\nexit {exit_code}\n"
    )
    file.chmod(0o700)


def test_dependency_that_holds_nothing_back_is_refused(tmp_path: Path) -> None:
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SQUEUE_STATES": "RUNNING"}
    for kind, queue, accounting, reason in CASES:
        fake_client(tmp_path, "squeue", *queue)
        fake_client(tmp_path, "sacct", *accounting)
        words = ["1", "--clusters=big", kind, "20", "echo", "submitted it"]
        argv = ["/bin/sh", "-c", f'{CHECK}exec "$@"', "slurm", *words]
        ran = subprocess.run(argv, env=environ, capture_output=True, encoding="utf-8", check=False)
        case = (kind, queue, accounting)
        if reason is None:
            assert (ran.stdout, ran.stderr) == ("submitted it\n", ""), case
        else:
            assert (ran.returncode, ran.stdout) == (DEPENDENCY_REFUSED, ""), case
            assert ran.stderr.startswith(f"{kind}:20 can never be met: "), case
            assert reason in ran.stderr, case
    log = (tmp_path / "squeue.log").read_text().splitlines()
    assert log[-1] == "unset unset --noheader --clusters=big --states=all --jobs=20 --format=%i"
