"""Submit a job with sbatch, and read the job's id from its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from typing_extensions import TypedDict

from operators.slurm.client import ask, unavailable_daemon
from resop import CommandFailed, ContactLost, Shell


class Submission(TypedDict):
    """A job that Slurm has accepted."""

    job: int
    """The job's id."""
    cluster: str | None
    """The Slurm cluster, if sbatch names one (sites with several clusters)."""


def sbatch(
    shell: Shell,
    *words: str,
    script: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Submission:
    """Submit the script, or the file that `words` name, with `environment` added to the login's.

    sbatch passes its own environment to the job. `--export=NAME=value` would not do: sbatch splits
    it at commas. Raises ContactLost if the connection to slurmctld broke: the job may have been
    accepted.
    """
    variables = [f"{name}={value}" for name, value in (environment or {}).items()]
    with_environment = ("env", *variables) if variables else ()
    export = ("--export=ALL",) if variables else ()  # the script, or the site, may set another one
    argv = (*with_environment, "sbatch", "--parsable", *export, *words)
    try:
        answer = ask(shell, *argv, input=script, changes=True)
    except CommandFailed as fault:
        if unavailable_daemon("sbatch", fault.message):  # judged as if sbatch changed nothing
            message = f"{fault.message}: the job may have been accepted, look before trying again"
            raise ContactLost(message, **fault.details) from None
        raise
    submission = parse_answer(answer.stdout)
    if submission is None:
        shell.fail(f"sbatch answered no job id: {answer.stdout!r} {answer.stderr!r}")
    shell.log(f"script accepted as job {submission['job']}")
    return submission


def parse_answer(output: str) -> Submission | None:
    """Parse the output of `sbatch --parsable`: `4242`, or `4242;cluster` (sbatch(1)).

    Only the last line counts: a site's own sbatch may print something before it.
    """
    lines = output.strip().splitlines()
    found = re.fullmatch(r"([1-9][0-9]*)(?:;(\S+))?", lines[-1]) if lines else None
    return Submission(job=int(found[1]), cluster=found[2]) if found else None
