"""Snakemake's own tests of executors, for a login in the environment and a shared file system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from snakemake.common.tests import TestWorkflowsLocalStorageBase
from snakemake_executor_plugin_resop import ExecutorSettings

FAILING = """\
rule all:
    input: "a.txt", "b.txt"
rule a:
    output: "a.txt"
    shell: "echo what went wrong; exit 3"
rule b:
    output: "b.txt"
    resources: runtime=5, mem_mb=100
    threads: 2
    shell: "echo $SLURM_CPUS_PER_TASK >{output}"
"""


class TestWorkflows(TestWorkflowsLocalStorageBase):
    """The workflows that Snakemake brings along."""

    __test__ = True

    def get_executor(self) -> str:
        return "resop"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings()


def test_failed_job_is_explained_and_the_others_are_done(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(FAILING)
    command = [sys.executable, "-m", "snakemake", "--executor", "resop", "--jobs", "2"]
    done = subprocess.run(
        [*command, "--keep-going", "--latency-wait", "10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "of Slurm ended: FAILED" in said and "what went wrong" in said, said
    assert (tmp_path / "b.txt").read_text() == "2\n"
