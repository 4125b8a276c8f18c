"""Watch jobs in the queue with a short record: counts and ranges instead of every listing.

The pause between two listings is on the login node: a step ends when the states have changed, or
after a minute, and prints one line for each state and reason. So its record is small, and another
worker that resumes the task needs no time to come to the same point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from operators.slurm.client import (
    ANSWER_LIMIT,
    QUERY_ENVIRONMENT,
    QUERY_TIMEOUT,
    check_daemons,
    launcher,
    unavailable_daemon,
    unreadable,
    with_cluster,
)
from operators.slurm.job_types import JobEntry
from operators.slurm.jobs.job_queue import NO_SUCH_JOB, parse_reason
from operators.slurm.parsing import JobId
from resop import DaemonUnavailable, Result, Shell, StepTimedOut

# Gets the pause in seconds, the longest time to stay in seconds, and the checksum of the states
# that are known; then squeue with `id state reason` as its format.
WATCH = r"""pause=$1 limit=$2 known=$3
shift 3
end=$(($(date +%s) + limit))
while sleep "$pause"; do
  listing=$("$@") || { code=$?; date +%s; exit "$code"; }
  states=$(printf '%s\n' "$listing" | LC_ALL=C sort -t_ -k1,1n -k2,2n | LC_ALL=C awk '
    function flush(key) {
      if (!(key in from)) return
      to = last[key] == from[key] ? "" : "-" last[key]
      ids[key] = ids[key] " " head[key] from[key] to
      delete from[key]
    }
    NF >= 3 {
      id = $1; key = $0; sub(/^[^ ]+ /, "", key)
      if (!(key in ids)) { keys[++count] = key; ids[key] = "" }
      if (!match(id, /[0-9]+$/)) { flush(key); ids[key] = ids[key] " " id; next }
      start = substr(id, 1, RSTART - 1); number = substr(id, RSTART) + 0
      if (!(key in from) || start != head[key] || number != last[key] + 1) {
        flush(key); head[key] = start; from[key] = number
      }
      last[key] = number
    }
    END { for (i = 1; i <= count; i++) { flush(keys[i]); print keys[i] "|" ids[keys[i]] } }')
  checksum=$(printf %s "$states" | cksum)
  [ "$checksum" = "$known" ] && [ "$(date +%s)" -lt "$end" ] || break
done
date +%s
echo "$checksum"
printf '%s\n' "$states"
exit
"""
_RANGE = re.compile(r"(.*?)([0-9]+)-([0-9]+)")


class Sighting(NamedTuple):
    """The jobs in the queue at one time."""

    time: int
    """Seconds since 1970, by the clock of the login node."""
    checksum: str
    """The checksum of the states, for the next look."""
    jobs: list[JobEntry]
    fault: DaemonUnavailable | None = None
    """Why the queue could not be read."""


def look(
    shell: Shell, numbers: Sequence[int], *, pause: float, limit: int, known: str = ""
) -> Sighting:
    """Return the jobs in the queue once their states are others than `known`.

    Looks every `pause` seconds, for `limit` seconds at most.
    """
    ids = ",".join(map(str, numbers))
    argv = ("squeue", "--noheader", "--all", "--format=%i %T %r", "--states=all", f"--jobs={ids}")
    try:
        answer = shell.run(
            *with_cluster(argv, "squeue"),
            timeout=pause + limit + QUERY_TIMEOUT,
            check=False,
            env=QUERY_ENVIRONMENT,
            max_output=ANSWER_LIMIT,
            launcher=launcher(shell, prepare=(WATCH, (f"{pause:g}", str(limit), known))),
        )
    except StepTimedOut as fault:
        check_daemons(shell, "squeue", fault)
        raise
    return _sighting(answer, known)


def _sighting(answer: Result, known: str) -> Sighting:
    time, _, rest = answer.stdout.partition("\n")
    if not time.isdecimal():
        raise answer.failure() if answer.exit_code else unreadable("squeue", answer.stdout)
    if answer.exit_code == 0:
        checksum, _, states = rest.partition("\n")
        jobs = [job for line in states.splitlines() for job in parse_states(line)]
        return Sighting(int(time), checksum, jobs)
    fault = answer.failure()
    if NO_SUCH_JOB in answer.stderr:
        return Sighting(int(time), known, [])
    daemon = unavailable_daemon("squeue", answer.stderr)
    if daemon is None:
        raise fault
    message = f"{daemon} cannot be reached: {fault.message}"
    unavailable = DaemonUnavailable(message, daemon=daemon, **fault.details)
    return Sighting(int(time), known, [], unavailable)


def parse_states(line: str) -> Iterator[JobEntry]:
    """Yield the jobs of `RUNNING None| 4242_0-57 4300`."""
    key, _, ids = line.rpartition("|")
    state, _, reason = key.partition(" ")
    for word in ids.split():
        found = _RANGE.fullmatch(word)
        names = [word]
        if found:
            names = [f"{found[1]}{n}" for n in range(int(found[2]), int(found[3]) + 1)]
        for name in names:
            try:
                id = JobId.parse(name)
            except ValueError:  # what a site's wrapper prints before the list
                continue
            yield JobEntry(
                id=name,
                job=id.job,
                raw_id=0,
                task=id.task,
                tasks=id.tasks,
                component=id.component,
                state=state,
                reason=parse_reason(state, reason),
                submitted=None,
            )
