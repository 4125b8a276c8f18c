"""Say why a job ended as it did, in Slurm's words, from the queue or the accounting database.

The database keeps why a job once waited, not why it failed.
"""

from __future__ import annotations

NO_OUTPUT_SIGNAL = 53
"""The signal of a batch job whose output files slurmstepd cannot open."""
LAUNCH_FAILURE = "JobLaunchFailure"
NO_OUTPUT = "JobLaunchFailure (an output file, or the folder of one, could not be opened)"

NEVER_STARTS = frozenset(["DependencyNeverSatisfied"])
"""Reasons for which a pending job waits until somebody changes or cancels it."""

_BY_STATE = {
    "TIMEOUT": "TimeLimit",
    "OUT_OF_MEMORY": "OutOfMemory",
    "NODE_FAIL": "NodeDown",
    "DEADLINE": "DeadLine",
}
# Why jobs fail, or are cancelled by Slurm; src/common/job_state_reason.c.
_OF_ENDS = frozenset(
    [
        *("BadConstraints", "BurstBufferOperation", "Constraints", "DeadLine", "InactiveLimit"),
        *("DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS", "JobLaunchFailure"),
        *("NodeDown", "NonZeroExitCode", "OutOfMemory", "PartitionDown", "SystemFailure"),
        *("TimeLimit",),
    ]
)


def reason_of_end(
    state: str, exit_code: int | None, signal: int | None, said: str | None
) -> str | None:
    """Return why a job ended that did not complete; `said` is the reason that Slurm gives."""
    if state == "COMPLETED":
        return None
    if signal == NO_OUTPUT_SIGNAL and not exit_code:
        return NO_OUTPUT
    if said == LAUNCH_FAILURE and signal:  # 22.05 says so of scripts that a signal ended
        return f"RaisedSignal:{signal}"
    if said in _OF_ENDS or (said or "").startswith("RaisedSignal"):
        return said
    if state == "FAILED":
        if exit_code:
            return "NonZeroExitCode"
        return f"RaisedSignal:{signal}" if signal else None
    return _BY_STATE.get(state)
