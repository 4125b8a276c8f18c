"""Run Slurm's clients with a time limit, and find out which daemon cannot be reached.

Without a limit, a client takes 9 s to report that slurmctld is down, and 49 s if munged hangs.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from functools import partial

from operators.slurm.queries import is_query
from resop import CommandFailed, DaemonUnavailable, OperationFailed, Result, Shell, StepTimedOut

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

# Finds the clients in the site's folder, and runs one without the variables that would change its
# answer (squeue(1), ENVIRONMENT VARIABLES, and so on): people set them in their profiles. A
# submission keeps variables of the job, such as SLURM_MPI_TYPE.
_LAUNCHER = """\
[ -z "$1" ] || PATH="$1:$PATH"
for name in $(env | sed -E -n "s/^($2)=.*/\\1/p"); do
  case $name in
  SLURM_CONF*|SLURM_JWT|SLURM_SACK*|SLURM_TIME_FORMAT|SLURM_BITSTR_LEN) ;;
  *) unset "$name" ;;
  esac
done
shift 2
export PATH
"""
_RUN = 'exec "$@"\n'
_CLIENTS_VARIABLES = "S(QUEUE|INFO|CANCEL|ACCT|CONTROL|REPORT|PRIO|SHARE|LURM)_[A-Z0-9_]*|TZ"
_SUBMISSION_VARIABLES = "SBATCH_[A-Z0-9_]*|SLURM_CLUSTERS|SLURM_HINT"

Preparation = tuple[str, Sequence[str]]
"""Lines of shell that run before a client, and their arguments."""
NO_PREPARATION: Preparation = ("", ())

NOT_FOUND = (
    "{} is not on the PATH of this login; an administrator of this service can name the folder "
    "of Slurm's programs with the setting SLURM_BIN"
)

# Clients that take the option --clusters.
_CLIENTS_OF_A_CLUSTER = (
    *("squeue", "sinfo", "sacct", "scontrol", "scancel", "sbatch", "sprio", "sshare"),
)
_CLIENTS = (*_CLIENTS_OF_A_CLUSTER, "sacctmgr", "sreport")
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
_UNKNOWN_CLUSTER = re.compile(r"error: ('.*' can't be reached now, .*)")
CONNECTION_BROKEN = r"Socket timed out|Zero Bytes were transmitted|[Cc]onnection (reset|timed out)"


# Each operation's own, since it runs in a context of its own; `Shell.map` passes it on.
_cluster: ContextVar[str | None] = ContextVar("cluster", default=None)


@contextlib.contextmanager
def on_cluster(name: str | None) -> Iterator[None]:
    """Ask the Slurm cluster `name` inside, where a site has several; None: the default one."""
    token = _cluster.set(name)
    try:
        yield
    finally:
        _cluster.reset(token)


def chosen_cluster() -> str | None:
    """Return the Slurm cluster that is asked; None: the default one."""
    return _cluster.get()


def launcher(
    shell: Shell, *, submits: bool = False, prepare: Preparation = NO_PREPARATION
) -> tuple[str, ...]:
    """Return the command line that runs one of Slurm's clients for `Shell.run`.

    The client is found in the folder that the site's setting SLURM_BIN names, and the user's own
    variables, such as SQUEUE_STATES, do not change its answer. `prepare` are lines of shell that
    run before it, and their arguments.
    """
    variables = _SUBMISSION_VARIABLES if submits else _CLIENTS_VARIABLES
    lines, arguments = prepare
    script = f"{_LAUNCHER}{lines}{_RUN}"
    return ("/bin/sh", "-c", script, "slurm", shell.setting("SLURM_BIN", ""), variables, *arguments)


def ask(
    shell: Shell,
    *argv: str | int,
    input: str | None = None,
    timeout: float | None = None,
    changes: bool = False,
    check: bool = True,
    max_output: int = ANSWER_LIMIT,
    prepare: Preparation = NO_PREPARATION,
    summary: str = "",
) -> Result:
    """Run one of Slurm's clients; a query prints times as seconds since 1970.

    A query may take `timeout` seconds (default: QUERY_TIMEOUT). A client that `changes` something
    is never interrupted unless `timeout` is given, since the change may have happened. Raises
    DaemonUnavailable, with the `daemon` (munged, slurmctld, slurmdbd or MariaDB), only if nothing
    can have changed; StepTimedOut; OperationFailed for an answer of more than `max_output` bytes;
    CommandFailed for any other failure, unless `check` is False. `prepare` are lines of shell that
    run before the client, and their arguments. `summary` is as for `Shell.run`. A dry run runs the
    client only if its command line shows that it cannot change anything.
    """
    # sbatch passes its environment to the job; `env` before it sets the job's variables.
    program = next((str(word) for word in argv if word in _CLIENTS), str(argv[0]))
    env = None if changes else QUERY_ENVIRONMENT
    run = partial(
        shell.run,
        *with_cluster(argv, program),
        input=input,
        check=False,
        env=env,
        max_output=max_output,
        launcher=launcher(shell, submits=program == "sbatch", prepare=prepare),
        reads=not prepare[0] and is_query(argv),
        summary=summary,
    )
    if changes:
        result = run(timeout=timeout)
    else:
        result = _query(shell, program, run, timeout or QUERY_TIMEOUT)
    if result.exit_code != 0:
        fault = result.failure()
        if daemon := unavailable_daemon(program, result.stderr, changes=changes):
            message = f"{daemon} cannot be reached: {fault.message}"
            raise DaemonUnavailable(message, daemon=daemon, **fault.details)
        if result.exit_code == COMMAND_NOT_FOUND:
            raise CommandFailed(NOT_FOUND.format(program), **fault.details)
        if found := _UNKNOWN_CLUSTER.search(result.stderr):
            # Slurm 24.11 has another line behind it, which names no cluster.
            fault = CommandFailed(f"{program}: {found[1]}", **fault.details)
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


def unreadable(program: str, output: str) -> OperationFailed:
    """Return the error for an answer that is not what the client prints: a banner, a part."""
    beginning = " ".join(output.split())[:200]
    return OperationFailed(f"{program} answered what cannot be read: {beginning!r}")


def with_cluster(argv: Sequence[str | int], program: str) -> list[str | int]:
    """Return the command line with the option --clusters, if the operation names a cluster."""
    cluster = chosen_cluster()
    if cluster is None or program not in _CLIENTS_OF_A_CLUSTER:
        return [*argv]
    after = argv.index(program) + 1
    return [*argv[:after], f"--clusters={cluster}", *argv[after:]]


def _query(shell: Shell, program: str, run: partial[Result], limit: float) -> Result:
    """Run a query within `limit` seconds; DaemonUnavailable as soon as a daemon does not answer."""
    if program not in _DATABASE_CLIENTS and limit > DIAGNOSIS_DELAY:
        try:
            return run(timeout=DIAGNOSIS_DELAY)
        except StepTimedOut as fault:
            check_daemons(shell, program, fault)
        # All daemons answer: a large cluster's queue may just take longer.
    try:
        return run(timeout=limit)
    except StepTimedOut as fault:
        check_daemons(shell, program, fault)
        raise


def check_daemons(shell: Shell, program: str, fault: StepTimedOut) -> None:
    """Raise DaemonUnavailable if a daemon that `program` needs does not answer a quick query."""
    last = ("slurmdbd", _CLUSTERS) if program in _DATABASE_CLIENTS else ("slurmctld", _PING)
    for daemon, query in (("munged", _MUNGE), last):
        if unavailable := _ping(shell, daemon, query):
            message = f"{unavailable} cannot be reached: {fault.message}"
            raise DaemonUnavailable(message, daemon=unavailable, **fault.details) from None


def _ping(shell: Shell, daemon: str, query: tuple[str, ...]) -> str | None:
    """Return the daemon that keeps a quick query from being answered, or None."""
    try:
        answer = shell.run(
            *query, timeout=PING_TIMEOUT, check=False, launcher=launcher(shell), reads=True
        )
    except StepTimedOut:
        return daemon
    # One controller of several is enough, and not every site uses munge.
    if answer.exit_code in (0, COMMAND_NOT_FOUND) or " is UP" in answer.stdout:
        return None
    return unavailable_daemon(query[0], answer.stderr) or daemon
