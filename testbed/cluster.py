"""The whole testbed: its parts in the order in which they need each other."""

import shutil
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from testbed import databases, etc, ldap, openssh, requirements, slurm
from testbed.daemon import Daemon
from testbed.files import folder
from testbed.machine import FOLDERS, Machine
from testbed.site import SiteDescription

_WHOLE = "/run/testbed.up"


def daemons(site: SiteDescription) -> dict[str, Daemon]:
    """All of them by name, each after those that it needs."""
    parts = (databases, ldap, openssh, slurm)
    found = {daemon.name: daemon for part in parts for daemon in part.daemons(site)}
    ordered: dict[str, Daemon] = {}
    while len(ordered) < len(found):
        ordered |= {name: each for name, each in found.items() if set(each.needs) <= set(ordered)}
    return ordered


def start(site: SiteDescription) -> bool:
    """Bring everything up that is not; False if there was nothing to do.

    Raises RuntimeError with the reason; the machine is off then, unless it was on before.
    """
    machine = Machine(site.state)
    if not _is_whole(machine):
        machine.power_off()  # what an interrupted start left at work would be in the way
    was_on = machine.pid is not None
    if was_on and all(daemon.pid(machine) for daemon in daemons(site).values()):
        return False
    if not was_on:
        lack = requirements.lack()
        if lack is not None:
            raise RuntimeError(lack)
        _check_ports(site)
        _prepare(site)
        site.save()  # before there is anything to stop
        machine.boot(site.hostname)
    try:
        _start_daemons(site, machine)
        settle(site)
    except BaseException:
        if not was_on:
            machine.power_off()
        raise
    machine.inside(_WHOLE).touch()
    return True


def stop(site: SiteDescription) -> None:
    """End everything, each daemon before those that it needs; the state stays."""
    machine = Machine(site.state)
    if machine.pid is None:
        return
    left = daemons(site)
    if left["slurmctld"].pid(machine):
        slurm.end_jobs(machine)
    while left:
        needed = {need for daemon in left.values() for need in daemon.needs}
        now = [left.pop(name) for name in set(left) - needed]
        with ThreadPoolExecutor(len(now)) as pool:
            list(pool.map(lambda daemon: daemon.stop(machine), now))
    machine.power_off()  # jobs and sessions, too


def reset(state: Path) -> None:
    """End everything, at once, and forget the state."""
    Machine(state).power_off()
    shutil.rmtree(state)


def settle(site: SiteDescription) -> None:
    """Wait until every node takes jobs, if all is up that this takes."""
    machine = Machine(site.state)
    parts = [each for each in slurm.daemons(site) if each.name != "slurmdbd"]
    if all(daemon.pid(machine) for daemon in parts):
        slurm.settle(site, machine)


def _is_whole(machine: Machine) -> bool:
    """Whether a start has come to its end since the machine was switched on."""
    return machine.pid is not None and machine.inside(_WHOLE).exists()


def _prepare(site: SiteDescription) -> None:
    for name in FOLDERS:
        if name != "etc":  # which is made as a whole
            folder(site.state / name)
    for part in (etc, databases, ldap, openssh, slurm):
        part.prepare(site)


def _check_ports(site: SiteDescription) -> None:
    for port in site.ports():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as daemons do
            try:
                probe.bind((site.ssh.host, port))
            except OSError as error:
                raise RuntimeError(f"port {port}: {error.strerror}; choose with --port") from None


def _start_daemons(site: SiteDescription, machine: Machine) -> None:
    """All at a time, each as soon as those are ready that it needs."""
    started: dict[str, Future[None]] = {}

    def bring_up(daemon: Daemon) -> None:
        for need in daemon.needs:
            started[need].result()
        daemon.start(machine)

    everyone = daemons(site)
    with ThreadPoolExecutor(len(everyone)) as pool:  # a thread for each: they wait for each other
        for name, daemon in everyone.items():
            started[name] = pool.submit(bring_up, daemon)
    for future in started.values():
        future.result()
