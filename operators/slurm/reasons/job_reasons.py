"""Say why a job ended as it did, in Slurm's words, from the queue or the accounting database.

The database keeps why a job once waited, not why it failed.
"""

from __future__ import annotations

import re

NO_OUTPUT_SIGNAL = 53
"""The signal of a batch job whose output files slurmstepd cannot open."""
LAUNCH_FAILURE = "JobLaunchFailure"
NO_OUTPUT = "JobLaunchFailure (an output file, or the folder of one, could not be opened)"

# Reasons for which a pending job waits until somebody changes the job, its partition or its limits.
# A held job can be released at any time, so it is not among them. src/common/job_state_reason.c
_RAISED_SIGNAL = re.compile(r"RaisedSignal(:[0-9]+)?")
_NEVER_STARTS = re.compile(
    r"DependencyNeverSatisfied|BadConstraints|InvalidAccount|InvalidQOS|AccountNotAllowed"
    r"|QOSNotAllowed|PartitionTimeLimit|MaxMemPerLimit|(Assoc|QOS)Max\w+PerJob\w*|QOSMin\w+"
)
_IN_EVERY_PARTITION = frozenset(["DependencyNeverSatisfied", "BadConstraints", "InvalidAccount"])

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
    if found := _RAISED_SIGNAL.match(said or ""):  # with the signal's name: RaisedSignal:9(Killed)
        return found[0]
    if said in _OF_ENDS:
        return said
    if state == "FAILED":
        if exit_code:
            return "NonZeroExitCode"
        return f"RaisedSignal:{signal}" if signal else None
    return _BY_STATE.get(state)


def never_starts(reason: str | None, *, several_partitions: bool = False) -> bool:
    """Return True if a pending job with this reason never starts unless somebody acts.

    The reason of a job that may run in several partitions may be that of one of them.
    """
    if reason is None or (several_partitions and reason not in _IN_EVERY_PARTITION):
        return False
    return _NEVER_STARTS.fullmatch(reason) is not None
