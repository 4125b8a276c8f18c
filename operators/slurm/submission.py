"""Hands a job to sbatch, and reads the job's number from its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from typing_extensions import TypedDict

from operators.slurm.client import ask, daemon_away
from resop import CommandFailed, ContactLost, Shell


class Submitted(TypedDict):
    """A job that Slurm has accepted."""

    job: int
    cluster: str | None
    """Where the site has several Slurm clusters and sbatch tells which one."""


def sbatch(
    shell: Shell,
    *words: str,
    script: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Submitted:
    """Submit the script, or what the words name; the environment is added to that of the login.

    sbatch hands on its own environment. `--export=NAME=value` would not do: it is split at
    commas. ContactLost if slurmctld broke off: the job may have been accepted.
    """
    given = [f"{name}={value}" for name, value in (environment or {}).items()]
    with_environment = ("env", *given) if given else ()
    export = ("--export=ALL",) if given else ()  # the script, or the site, may say otherwise
    argv = (*with_environment, "sbatch", "--parsable", *export, *words)
    try:
        answer = ask(shell, *argv, input=script, changes=True)
    except CommandFailed as fault:
        if daemon_away("sbatch", fault.message):  # as a question would have it
            said = f"{fault.message}: the job may have been accepted, look before trying again"
            raise ContactLost(said, **fault.details) from None
        raise
    submitted = read(answer.stdout)
    if submitted is None:
        shell.fail(f"sbatch answered no job id: {answer.stdout!r} {answer.stderr!r}")
    shell.log(f"script accepted as job {submitted['job']}")
    return submitted


def read(printed: str) -> Submitted | None:
    """What `sbatch --parsable` printed: `4242`, or `4242;cluster` (sbatch(1)).

    The last line counts: a site's own sbatch may say something first.
    """
    lines = printed.strip().splitlines()
    found = re.fullmatch(r"([1-9][0-9]*)(?:;(\S+))?", lines[-1]) if lines else None
    return Submitted(job=int(found[1]), cluster=found[2]) if found else None
