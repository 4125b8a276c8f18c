"""Asks Slurm's clients: with a time limit, and with the daemon's name where one is away.

Left alone, a client whose slurmctld is down takes 9 s, and one whose munged is stuck 49 s.
"""

from __future__ import annotations

import re
from functools import partial

from resop import DaemonUnavailable, Result, Shell, StepTimedOut

PATIENCE = 5.0
"""Seconds after which a client that asks slurmctld makes us ask what is wrong."""
LONG = 120.0
"""Seconds that a question may take when nothing is wrong."""
QUICK = 3.0
"""Seconds for a question whose answer shows that a daemon is there."""
ANSWER_LIMIT = 64 << 20
"""Bytes of an answer; 10,000 jobs have 4 MB."""

READABLE = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
"""Times as seconds since 1970, which need no zone; expressions of array tasks in full."""

NO_SUCH_PROGRAM = 127

_OF_THE_DATABASE = ("sacct", "sacctmgr", "sreport")
_MUNGE = ("munge", "--no-input")
_PING = ("scontrol", "ping")
_CLUSTERS = ("sacctmgr", "--noheader", "--parsable2", "show", "cluster", "format=cluster")

# What clients of 22.05 and newer say; the first that is found counts.
_REFUSED = (
    ("munged", r"[Mm]unge|authentication error"),
    ("MariaDB", r"Unable to connect to database"),
    ("slurmdbd", r"Problem (talking|connecting) to the database|open persistent connection"),
    ("slurmctld", r"Unable to contact slurm controller|controller in standby mode"),
)
BROKEN_OFF = r"Socket timed out|Zero Bytes were transmitted|[Cc]onnection (reset|timed out)"


def ask(
    shell: Shell,
    *argv: str | int,
    input: str | None = None,
    timeout: float | None = None,
    changes: bool = False,
    check: bool = True,
    max_output: int = ANSWER_LIMIT,
) -> Result:
    """Run one of Slurm's clients; its times are seconds since 1970 unless it `changes` things.

    A question has `timeout` seconds (LONG when not given). What `changes` something is never cut
    short unless `timeout` says so, as it may have happened. Raises DaemonUnavailable, with the
    `daemon` (munged, slurmctld, slurmdbd or MariaDB), only where certainly nothing was changed;
    StepTimedOut; OperationFailed for an answer of more than `max_output` bytes; CommandFailed for
    any other failure, unless `check` is False.
    """
    env = None if changes else READABLE  # the environment of sbatch becomes that of the job
    run = partial(shell.run, *argv, input=input, check=False, env=env, max_output=max_output)
    program = str(argv[0])
    result = run(timeout=timeout) if changes else _answer(shell, program, run, timeout or LONG)
    if result.exit_code != 0:
        fault = result.failure()
        if daemon := daemon_away(program, result.stderr, changes=changes):
            raise DaemonUnavailable(
                f"{daemon} is away: {fault.message}", daemon=daemon, **fault.details
            )
        if check:
            raise fault
    if result.truncated:
        shell.fail(f"{program} answers more than {max_output} bytes: ask for less")
    return result


def daemon_away(program: str, said: str, *, changes: bool = False) -> str | None:
    """The daemon that is away by what a client that failed `said`; None for another failure.

    A connection that broke off says so of a question alone: a change may have happened.
    """
    for daemon, pattern in _REFUSED:
        if re.search(pattern, said):
            return daemon
    if changes or not re.search(BROKEN_OFF, said):
        return None
    return "slurmdbd" if program in _OF_THE_DATABASE else "slurmctld"


def _answer(shell: Shell, program: str, run: partial[Result], limit: float) -> Result:
    """What `run` answers within the limit.

    DaemonUnavailable as soon as it is known to wait in vain.
    """
    if program not in _OF_THE_DATABASE and limit > PATIENCE:
        try:
            return run(timeout=PATIENCE)
        except StepTimedOut as fault:
            _check_daemons(shell, program, fault)
        # Everything is there, and slow: a large cluster's queue may take its time.
    try:
        return run(timeout=limit)
    except StepTimedOut as fault:
        _check_daemons(shell, program, fault)
        raise


def _check_daemons(shell: Shell, program: str, fault: StepTimedOut) -> None:
    """Raise DaemonUnavailable if a daemon that `program` needs does not answer a quick query."""
    last = ("slurmdbd", _CLUSTERS) if program in _OF_THE_DATABASE else ("slurmctld", _PING)
    for daemon, question in (("munged", _MUNGE), last):
        if away := _lack(shell, daemon, question):
            message = f"{away} is away: {fault.message}"
            raise DaemonUnavailable(message, daemon=away, **fault.details) from None


def _lack(shell: Shell, daemon: str, question: tuple[str, ...]) -> str | None:
    """The daemon that keeps a quick question from being answered, or None."""
    try:
        answer = shell.run(*question, timeout=QUICK, check=False)
    except StepTimedOut:
        return daemon
    # Where there are several controllers, one that is up will do; not every site has munge.
    if answer.exit_code in (0, NO_SUCH_PROGRAM) or " is UP" in answer.stdout:
        return None
    return daemon_away(question[0], answer.stderr) or daemon
