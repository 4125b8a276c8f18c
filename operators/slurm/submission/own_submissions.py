"""Find the job of a task of this service that submitted it, and what was submitted."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from operators.slurm.client import chosen_cluster
from operators.slurm.job_types import Job
from operators.slurm.parsing import JobId
from operators.slurm.scripts.batch_script import script_options
from operators.slurm.scripts.filename_patterns import default_pattern
from operators.slurm.scripts.submit_line import NAME_OF_STDIN
from operators.slurm.submission.output_folders import resolve_paths
from resop import InvalidOptions, Shell

ACTIONS = ("slurm:submit", "slurm:sweep", "slurm:sbatchd")
MAX_TASKS = 500
"""How many of the user's submissions are looked at."""
MAX_WAIT = timedelta(days=3)
"""How long a task may have waited, as one of a large batch, before it submitted its job."""
CLOCK_DIFFERENCE = timedelta(minutes=10)
"""How much the clocks of the service and of the cluster may differ."""

# What is only known of a job that Slurm still knows: number and node of an array's task.
_UNKNOWN = re.compile(r"%[0-9]*[jJN]")


class OwnSubmission(NamedTuple):
    """A job that a task of this service submitted."""

    job: int
    options: Mapping[str, Any]
    """The options of submit, sweep or sbatchd."""
    paths: Mapping[str, str]
    """Working folder and output files as sbatch was given them."""

    @property
    def script(self) -> str | None:
        """The script that was sent as text."""
        return self.options.get("script")

    @property
    def name(self) -> str:
        """The job's name."""
        line = script_options(self.script or "").get("job-name")
        file = posixpath.basename(self.options.get("path") or NAME_OF_STDIN)
        return self.options.get("job_name") or line or file

    def pattern(self, job: Job, names: Sequence[str]) -> str | None:
        """Return the pattern of the first of the options `names` that the job has.

        None: the lines of a script that was not sent as text may set it.
        """
        given = next((self.paths[name] for name in names if name in self.paths), None)
        return given or (default_pattern(job) if self.script is not None else None)

    def describe(self, target: JobId, username: str) -> Job:
        """Return the job, or one of its tasks, as far as its submission shows."""
        return Job(
            id=str(self.job) if target.task is None else f"{self.job}_{target.task}",
            job=self.job,
            raw_id=self.job,
            task=target.task,
            tasks=None,
            component=target.component,
            name=self.name,
            user=username,
            account=None,
            partition="",
            qos=None,
            state="",
            reason=None,
            nodes=0,
            node_names=[],
            cpus=0,
            submitted=None,
            started=None,
            ended=None,
            elapsed=0,
            time_limit=None,
            work_dir=self.paths.get("chdir"),
        )


def find_submission(
    shell: Shell, target: JobId, submitted: str | None = None
) -> OwnSubmission | None:
    """Return the submission of a job by a task of this service, or None.

    `submitted` is when Slurm has it submitted: the number of a job can be used again.
    """
    moment = datetime.fromisoformat(submitted) if submitted else None
    since = moment and moment - MAX_WAIT
    until = moment and moment + CLOCK_DIFFERENCE
    for task in islice(shell.past_tasks(*ACTIONS, since=since, until=until), MAX_TASKS):
        number = task.output["job"] if isinstance(task.output, dict) else task.output
        is_on_cluster = task.options.get("cluster") == chosen_cluster()
        if number != target.job or not is_on_cluster:
            continue
        earliest, latest = task.started - CLOCK_DIFFERENCE, task.ended + CLOCK_DIFFERENCE
        if moment is None or earliest <= moment <= latest:
            return _submission(number, task.options)
    return None


def is_certain(pattern: str, target: JobId) -> bool:
    """Return True if the pattern can be filled for a job that only its submission tells."""
    return target.task is None or not _UNKNOWN.search(pattern)


def _submission(job: int, options: Mapping[str, Any]) -> OwnSubmission | None:
    try:
        paths = resolve_paths(options, options.get("script")).options
    except InvalidOptions:  # a rule that is newer than the task
        return None
    return OwnSubmission(job, options, paths)
