"""The whole testbed: start and stop its daemons in order of their dependencies."""

import shutil
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from testbed import databases, etc, ldap, openssh, requirements, slurm
from testbed.daemon import Daemon
from testbed.files import make_folder
from testbed.machine import FOLDERS, Machine
from testbed.site import SiteDescription

_STARTED_MARKER = "/run/testbed.up"


def daemons(site: SiteDescription) -> dict[str, Daemon]:
    """Return all daemons by name, each after the daemons that it needs."""
    parts = (databases, ldap, openssh, slurm)
    found = {daemon.name: daemon for part in parts for daemon in part.daemons(site)}
    ordered: dict[str, Daemon] = {}
    while len(ordered) < len(found):
        ordered |= {name: each for name, each in found.items() if set(each.needs) <= set(ordered)}
    return ordered


def start(site: SiteDescription) -> bool:
    """Start whatever is not running; return False if everything was running.

    Raises RuntimeError with the reason of a failure, after switching off a machine that it booted.
    """
    machine = Machine(site.state)
    if not _is_started(machine):
        machine.power_off()  # processes of an interrupted start would be in the way
    was_on = machine.pid is not None
    if was_on and all(daemon.pid(machine) for daemon in daemons(site).values()):
        return False
    if not was_on:
        problem = requirements.find_problem()
        if problem is not None:
            raise RuntimeError(problem)
        _check_ports(site)
        _prepare(site)
        site.save()  # before boot, so that `stop` finds it
        machine.boot(site.hostname)
    try:
        _start_daemons(site, machine)
        settle(site)
    except BaseException:
        if not was_on:
            machine.power_off()
        raise
    machine.inside(_STARTED_MARKER).touch()
    return True


def stop(site: SiteDescription) -> None:
    """Stop everything, each daemon before the daemons that it needs; the state remains."""
    machine = Machine(site.state)
    if machine.pid is None:
        return
    remaining = daemons(site)
    if remaining["slurmctld"].pid(machine):
        slurm.end_jobs(machine)
    while remaining:
        needed = {need for daemon in remaining.values() for need in daemon.needs}
        unneeded = [remaining.pop(name) for name in set(remaining) - needed]
        with ThreadPoolExecutor(len(unneeded)) as pool:
            list(pool.map(lambda daemon: daemon.stop(machine), unneeded))
    machine.power_off()  # ends jobs and sessions too


def reset(state: Path) -> None:
    """Kill everything at once and delete the state."""
    Machine(state).power_off()
    shutil.rmtree(state)


def settle(site: SiteDescription) -> None:
    """Wait until every node accepts jobs, provided that all of Slurm's daemons for that run."""
    machine = Machine(site.state)
    needed = [daemon for daemon in slurm.daemons(site) if daemon.name != "slurmdbd"]
    if all(daemon.pid(machine) for daemon in needed):
        slurm.settle(site, machine)


def _is_started(machine: Machine) -> bool:
    """Return True if a start was completed since the machine was booted."""
    return machine.pid is not None and machine.inside(_STARTED_MARKER).exists()


def _prepare(site: SiteDescription) -> None:
    for name in FOLDERS:
        if name != "etc":  # etc.prepare makes it at once, with its content
            make_folder(site.state / name)
    for part in (etc, databases, ldap, openssh, slurm):
        part.prepare(site)


def _check_ports(site: SiteDescription) -> None:
    for port in site.ports():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the daemons do
            try:
                probe.bind((site.ssh.host, port))
            except OSError as error:
                raise RuntimeError(
                    f"port {port}: {error.strerror}; choose another with --port"
                ) from None


def _start_daemons(site: SiteDescription, machine: Machine) -> None:
    """Start all daemons concurrently, each as soon as the daemons that it needs are ready."""
    started: dict[str, Future[None]] = {}

    def start_when_possible(daemon: Daemon) -> None:
        for need in daemon.needs:
            started[need].result()
        daemon.start(machine)

    all_daemons = daemons(site)
    # One thread for each, because they wait for each other.
    with ThreadPoolExecutor(len(all_daemons)) as pool:
        for name, daemon in all_daemons.items():
            started[name] = pool.submit(start_when_possible, daemon)
    for future in started.values():
        future.result()
