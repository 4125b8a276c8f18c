"""`python -m testbed`: start, stop, inspect and enter the testbed (see docs/testbed.md)."""

import argparse
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from testbed import cluster, settings, slurm
from testbed.machine import ENVIRONMENT, Machine
from testbed.site import (
    DEFAULT_MIN_JOB_AGE,
    DEFAULT_PORT,
    DEFAULT_STATE,
    SiteDescription,
    describe_site,
)


def main() -> int:
    """Run the command line and return the exit status."""
    arguments = _parser().parse_args()
    arguments.state = arguments.state.absolute()
    try:
        status: int = arguments.run(arguments)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return status


# -- commands -------------------------------------------------------------------------------


def _start(arguments: argparse.Namespace) -> int:
    state: Path = arguments.state
    state.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _lock(state):
        began = time.monotonic()
        site = _requested_site(arguments)
        if cluster.start(site):
            print(f"The testbed is up after {time.monotonic() - began:.1f} s.")
        else:
            print("The testbed is up already.")
    print(_summary(site))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        _start(arguments)
        sys.stdout.flush()
        while sys.stdin.buffer.read(4096):
            pass
    return _reset(arguments) if arguments.discard else _stop(arguments)


def _stop(arguments: argparse.Namespace) -> int:
    with _lock(arguments.state):
        if Machine(arguments.state).pid is None:
            print("The testbed is not up.")
            return 0
        cluster.stop(_existing(arguments))
    print(f"The testbed is down. Its state remains in {arguments.state}.")
    return 0


def _reset(arguments: argparse.Namespace) -> int:
    if arguments.state.exists():
        with _lock(arguments.state):
            cluster.reset(arguments.state)
    print(f"The testbed is down, and {arguments.state} is deleted.")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    site = _existing(arguments)
    machine = Machine(arguments.state)
    if machine.pid is None:
        print("The testbed is not up.")
        return 1
    pids = {name: daemon.pid(machine) for name, daemon in cluster.daemons(site).items()}
    for name, pid in pids.items():
        print(f"{name:<14} {'up' if pid else 'DOWN'}")
    return 0 if all(pids.values()) else 1


def _config(arguments: argparse.Namespace) -> int:
    print(settings.lines(_existing(arguments)))
    return 0


def _roll(arguments: argparse.Namespace) -> int:
    slurm.roll_up(Machine(arguments.state))
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    site = _existing(arguments)
    command = Machine(arguments.state).enter(arguments.command)
    environment = ENVIRONMENT | {"PGPORT": str(site.postgresql.port)}
    environment |= {name: os.environ[name] for name in ("TERM",) if name in os.environ}
    sys.stdout.flush()
    os.execvpe(command[0], command, environment)  # noqa: S606


def _daemon(arguments: argparse.Namespace) -> int:
    site = _existing(arguments)
    machine = Machine(arguments.state)
    daemons = cluster.daemons(site)
    if arguments.name not in daemons:
        raise RuntimeError(f"no daemon {arguments.name}; choose from {', '.join(daemons)}")
    with _lock(arguments.state):
        if arguments.verb == "stop":
            daemons[arguments.name].stop(machine)
        else:
            daemons[arguments.name].start(machine)
            cluster.settle(site)
    return 0


# -- helpers ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _lock(state: Path) -> Iterator[None]:
    """Lock the testbed against concurrent changes.

    The lock is on the folder itself, so there is no lock file to remove.
    """
    if not state.is_dir():
        raise RuntimeError(f"no testbed in {state}; start one with: python -m testbed start")
    handle = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _existing(arguments: argparse.Namespace) -> SiteDescription:
    site = SiteDescription.load(arguments.state)
    if site is None:
        raise RuntimeError(
            f"no testbed in {arguments.state}; start one with: python -m testbed start"
        )
    return site


def _requested_site(arguments: argparse.Namespace) -> SiteDescription:
    """Return the running testbed, or else the requested one; options default to the last values."""
    state: Path = arguments.state
    existing = SiteDescription.load(state)
    if existing is not None and Machine(state).pid is not None:
        return existing
    port, min_job_age = arguments.port, arguments.min_job_age
    if port is None:
        port = existing.ssh.port if existing else DEFAULT_PORT
    if min_job_age is None:
        min_job_age = existing.slurm.min_job_age if existing else DEFAULT_MIN_JOB_AGE
    return describe_site(state, port, min_job_age)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _summary(site: SiteDescription) -> str:
    users = [f"  {user.name:<9} {user.password:<12} {user.key}" for user in site.all_users]
    second = site.two_factor
    portal = "{0.host}:{0.port} database {0.name} user {0.user} password {0.password}"
    return "\n".join(
        [
            f"SSH         {site.ssh.host}:{site.ssh.port} known hosts {site.ssh.known_hosts}",
            *users,
            f"  {second.name} also needs: oathtool --totp -b {second.totp_secret}",
            f"LDAP        {site.ldap.uri} {site.ldap.bind_dn} password {site.ldap.password}",
            f"PostgreSQL  {portal.format(site.postgresql)}",
            f"MariaDB     {portal.format(site.mariadb)}",
            f"As JSON     {site.state / 'testbed.json'}",
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed", description=__doc__)
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        default=DEFAULT_STATE,
        help=f"state folder ({DEFAULT_STATE})",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("start", _start, "start the testbed, or whatever of it is not running"),
        ("run", _run, "start it, and stop it at SIGTERM, Ctrl-C or end of input"),
    ):
        start = commands.add_parser(name, help=text)
        start.set_defaults(run=run)
        start.add_argument(
            "--port", type=int, help=f"sshd's port, the first of 12 ({DEFAULT_PORT})"
        )
        start.add_argument("--min-job-age", type=int, help="seconds that squeue lists an ended job")
        if run is _run:
            start.add_argument("--discard", action="store_true", help="then delete the state")
    for name, run, text in (
        ("stop", _stop, "stop all processes; the state remains"),
        ("reset", _reset, "stop all processes and delete the state"),
        ("status", _status, "list the daemons; exit status 1 if one is down"),
        ("config", _config, "print the config.env of a resop in front of the testbed"),
        ("roll", _roll, "make slurmdbd sum up the usage now, for sreport"),
    ):
        commands.add_parser(name, help=text).set_defaults(run=run)
    enter = commands.add_parser("exec", help="run a command in the testbed, as root")
    enter.set_defaults(run=_exec)
    enter.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    daemon = commands.add_parser("daemon", help="stop or start one daemon")
    daemon.set_defaults(run=_daemon)
    daemon.add_argument("verb", choices=["stop", "start"])
    daemon.add_argument("name", help="the name of the daemon, as `status` lists it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
