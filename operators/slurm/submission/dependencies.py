"""Refuse a dependency that Slurm takes for met although it is not.

slurmctld knows a job for some minutes after its end (MinJobAge). A dependency on a job that it no
longer knows, or never knew, counts as met: `afterok` of a job that failed an hour ago holds nothing
back. The accounting database knows better.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DEPENDENCY_REFUSED = 65
"""The exit code of CHECK if a dependency is refused; it is EX_DATAERR of sysexits.h."""

# Gets the number of conditions, the option for the cluster or an empty word, of each condition its
# kind and its job, and then the command line. What cannot be found out is left to Slurm.
CHECK = f"""\
query() (
  for name in $(env | sed -E -n 's/^(S(QUEUE|ACCT)_[A-Z0-9_]*)=.*/\\1/p'); do unset "$name"; done
  program=$1
  shift
  timeout 20 "$program" --noheader ${{on:+"$on"}} "$@" 2>&1
)
meet() {{
  queued=$(query squeue --states=all --jobs="${{2%%_*}}" --format=%i)
  case $?:$queued in
  0:*|*"Invalid job id"*) ;;
  *) return ;;
  esac
  ! printf '%s\n' "$queued" | grep -q '^[0-9]' || return
  found=$(query sacct --parsable2 --allocations --jobs="$2" --format=JobID,State) || return
  states=$(printf '%s\\n' "$found" | sed -n 's/^[0-9][^|]*|//p')
  if [ -z "$states" ]; then
    [ -z "$found" ] || return
    reason="Slurm knows no job $2"
  else
    case $1 in
    afterok|aftercorr) pattern='^(BOOT|CANC|DEAD|FAIL|NODE_F|OUT_OF|PREEMPT|TIMEOUT)' ;;
    afternotok) [ "$(printf '%s\\n' "$states" | sort -u)" = COMPLETED ] || return; pattern=. ;;
    *) return ;;
    esac
    state=$(printf '%s\\n' "$states" | grep -E -m 1 "$pattern") || return
    reason="job $2 has left the queue as $state"
  fi
  echo "$1:$2 can never be met: $reason, so Slurm would start this job without waiting" >&2
  exit {DEPENDENCY_REFUSED}
}}
count=$1 on=$2
shift 2
while [ "$count" -gt 0 ]; do
  meet "$1" "$2"
  shift 2
  count=$((count - 1))
done
"""

_CONDITION = re.compile(r"(after[a-z]*):([0-9:_*+]+)")


class Condition(NamedTuple):
    """One job that a dependency names."""

    kind: str
    """afterok, afterany, …"""
    job: str
    """123 or 123_4."""


def conditions_of(dependency: str) -> list[Condition]:
    """Return the conditions that must all be met: none if one of several is enough.

    `after:20+5` means five minutes after the start of job 20.
    """
    if "?" in dependency:
        return []
    return [
        Condition(kind, re.sub(r"\+.*|_\*", "", job))
        for kind, jobs in _CONDITION.findall(dependency)
        for job in jobs.split(":")
        if kind == "after" or "+" not in job  # a component
    ]
