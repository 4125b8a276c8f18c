"""Run Slurm's clients with a time limit, and find out which daemon cannot be reached.

Without a limit, a client takes 9 s to report that slurmctld is down, and 49 s if munged hangs.
"""

from __future__ import annotations

import re
from functools import partial

from resop import DaemonUnavailable, Result, Shell, StepTimedOut

DIAGNOSIS_DELAY = 5.0
"""Seconds after which a query to slurmctld is interrupted to find out what is wrong."""
QUERY_TIMEOUT = 120.0
"""Seconds that a query may take while all daemons answer."""
PING_TIMEOUT = 3.0
"""Seconds for a query that only shows whether a daemon answers."""
ANSWER_LIMIT = 64 << 20
"""Bytes of an answer; 10,000 jobs take 4 MB."""

QUERY_ENVIRONMENT = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
"""Print times as seconds since 1970, which need no zone, and array indexes without abbreviation."""

COMMAND_NOT_FOUND = 127

_DATABASE_CLIENTS = ("sacct", "sacctmgr", "sreport")
_MUNGE = ("munge", "--no-input")
_PING = ("scontrol", "ping")
_CLUSTERS = ("sacctmgr", "--noheader", "--parsable2", "show", "cluster", "format=cluster")

# Messages of the clients of 22.05 and newer; the first match counts.
_UNREACHABLE = (
    ("munged", r"[Mm]unge|authentication error"),
    ("MariaDB", r"Unable to connect to database"),
    ("slurmdbd", r"Problem (talking|connecting) to the database|open persistent connection"),
    ("slurmctld", r"Unable to contact slurm controller|controller in standby mode"),
)
CONNECTION_BROKEN = r"Socket timed out|Zero Bytes were transmitted|[Cc]onnection (reset|timed out)"


def ask(
    shell: Shell,
    *argv: str | int,
    input: str | None = None,
    timeout: float | None = None,
    changes: bool = False,
    check: bool = True,
    max_output: int = ANSWER_LIMIT,
) -> Result:
    """Run one of Slurm's clients; a query prints times as seconds since 1970.

    A query may take `timeout` seconds (default: QUERY_TIMEOUT). A client that `changes` something
    is never interrupted unless `timeout` is given, since the change may have happened. Raises
    DaemonUnavailable, with the `daemon` (munged, slurmctld, slurmdbd or MariaDB), only if nothing
    can have changed; StepTimedOut; OperationFailed for an answer of more than `max_output` bytes;
    CommandFailed for any other failure, unless `check` is False.
    """
    env = None if changes else QUERY_ENVIRONMENT  # sbatch passes its environment to the job
    run = partial(shell.run, *argv, input=input, check=False, env=env, max_output=max_output)
    program = str(argv[0])
    if changes:
        result = run(timeout=timeout)
    else:
        result = _query(shell, program, run, timeout or QUERY_TIMEOUT)
    if result.exit_code != 0:
        fault = result.failure()
        if daemon := unavailable_daemon(program, result.stderr, changes=changes):
            message = f"{daemon} cannot be reached: {fault.message}"
            raise DaemonUnavailable(message, daemon=daemon, **fault.details)
        if check:
            raise fault
    if result.truncated:
        shell.fail(f"{program} printed more than {max_output} bytes: narrow the request")
    return result


def unavailable_daemon(program: str, message: str, *, changes: bool = False) -> str | None:
    """Return the daemon whose absence made a client fail with `message`; None: another failure.

    A broken connection counts only for a query: a change may have happened.
    """
    for daemon, pattern in _UNREACHABLE:
        if re.search(pattern, message):
            return daemon
    if changes or not re.search(CONNECTION_BROKEN, message):
        return None
    return "slurmdbd" if program in _DATABASE_CLIENTS else "slurmctld"


def _query(shell: Shell, program: str, run: partial[Result], limit: float) -> Result:
    """Run a query within `limit` seconds; DaemonUnavailable as soon as a daemon does not answer."""
    if program not in _DATABASE_CLIENTS and limit > DIAGNOSIS_DELAY:
        try:
            return run(timeout=DIAGNOSIS_DELAY)
        except StepTimedOut as fault:
            _check_daemons(shell, program, fault)
        # All daemons answer: a large cluster's queue may just take longer.
    try:
        return run(timeout=limit)
    except StepTimedOut as fault:
        _check_daemons(shell, program, fault)
        raise


def _check_daemons(shell: Shell, program: str, fault: StepTimedOut) -> None:
    """Raise DaemonUnavailable if a daemon that `program` needs does not answer a quick query."""
    last = ("slurmdbd", _CLUSTERS) if program in _DATABASE_CLIENTS else ("slurmctld", _PING)
    for daemon, query in (("munged", _MUNGE), last):
        if unavailable := _ping(shell, daemon, query):
            message = f"{unavailable} cannot be reached: {fault.message}"
            raise DaemonUnavailable(message, daemon=unavailable, **fault.details) from None


def _ping(shell: Shell, daemon: str, query: tuple[str, ...]) -> str | None:
    """Return the daemon that keeps a quick query from being answered, or None."""
    try:
        answer = shell.run(*query, timeout=PING_TIMEOUT, check=False)
    except StepTimedOut:
        return daemon
    # One controller of several is enough, and not every site uses munge.
    if answer.exit_code in (0, COMMAND_NOT_FOUND) or " is UP" in answer.stdout:
        return None
    return unavailable_daemon(query[0], answer.stderr) or daemon
