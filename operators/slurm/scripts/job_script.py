"""Find the batch script of a job: slurmctld has it as long as the job, some databases longer."""

from __future__ import annotations

import re
from typing import Literal

from typing_extensions import TypedDict

from operators.slurm.client import ask
from operators.slurm.parsing import JobId
from resop import CommandFailed, DaemonUnavailable, Shell

# What sacct prints before a script; 22.05 does so even with --noheader.
_HEADING = re.compile(r"^Batch Script for \S+\n-{20,}\n", re.MULTILINE)
_NONE = "NONE"
_FORBIDDEN = re.compile(r"Invalid user id|[Pp]ermission denied")

NO_ANSWER = "scontrol printed no script"
NOT_YOURS = "Slurm shows the script of a job to its owner and to operators only"
NOT_STORED = (
    "the accounting database has no script of the job: it was no batch job, the cluster does not "
    "store scripts (AccountingStoreFlags=job_script), or you may not read it"
)


class JobScript(TypedDict):
    """The script of a job."""

    text: str | None
    source: Literal["queue", "accounting"] | None
    reason: str | None
    """Why there is none."""


def read_script(shell: Shell, id: JobId, *, is_queued: bool) -> JobScript:
    """Return the script of a job, from the queue or else from the accounting database.

    The tasks of an array have one script, as have the components of a heterogeneous job.
    """
    refusal = ""
    if is_queued:
        answer = ask(shell, "scontrol", "write", "batch_script", id.job, "-", check=False)
        if answer.stdout:  # a refusal does not change scontrol's exit code
            return JobScript(text=answer.stdout, source="queue", reason=None)
        refusal = f"{answer.stderr.strip() or NO_ANSWER}; "
        if _FORBIDDEN.search(refusal):
            return JobScript(text=None, source=None, reason=refusal + NOT_YOURS)
    try:
        # The database has a script of Slurm's own for the other components.
        leader = id.job if id.task is None else f"{id.job}_{id.task}"
        text = stored_script(shell, leader if id.component is None else f"{id.job}+0")
    except (CommandFailed, DaemonUnavailable) as fault:
        return JobScript(text=None, source=None, reason=refusal + fault.message)
    if text is None:
        return JobScript(text=None, source=None, reason=refusal + NOT_STORED)
    return JobScript(text=text, source="accounting", reason=None)


def stored_script(shell: Shell, id: str | int) -> str | None:
    """Return the script that the accounting database stores for a job; None if it has none."""
    answer = ask(shell, "sacct", "--batch-script", f"--jobs={id}", check=False)
    _, *scripts = _HEADING.split(answer.stdout)
    text = scripts[0] if scripts else ""
    # 22.05 prints a further newline behind it, 26.05 does not: an empty last line may get lost.
    text = text.removesuffix("\n") if text.endswith("\n\n") else text
    return None if text.strip() in ("", _NONE) else text
