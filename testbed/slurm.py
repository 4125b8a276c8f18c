"""Slurm with accounting: munge, slurmdbd, slurmctld and a slurmd for each simulated node."""

import contextlib
import os
import secrets
import stat
from datetime import datetime, timedelta
from pathlib import Path

from testbed import files
from testbed.daemon import Daemon
from testbed.machine import Machine, wait_for
from testbed.site import SiteDescription

DATABASE = "slurm_acct_db"
DATABASE_PASSWORD = "slurm-db-pw"  # noqa: S105

_SLURMDBD_CONF = """\
AuthType=auth/munge
DbdHost={hostname}
DbdAddr=127.0.0.1
DbdPort={dbd_port}
CommunicationParameters=NoInAddrAny,EnableIPv6
SlurmUser=slurm
LogFile=/var/log/slurm/slurmdbd.log
PidFile=/run/slurm/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb.port}
StorageUser=slurm
StoragePass={password}
StorageLoc={database}
"""

# The scheduler's intervals are short (the defaults are up to 60 s), nodes and limits are typical;
# everything else is Slurm's default. NoInAddrAny: it listens only on the loopback address.
# EnableIPv6: without it Slurm resolves no names on a host whose only interface is "lo".
_SLURM_CONF = """\
ClusterName={slurm.cluster}
SlurmctldHost={hostname}(127.0.0.1)
SlurmctldPort={slurm.first_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny,EnableIPv6
SlurmUser=slurm
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=/srv/slurm/slurmctld
SlurmdSpoolDir=/srv/slurm/%n
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurmd.%n.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=5
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_min_interval=100000,batch_sched_delay=1
PriorityType=priority/multifactor
PriorityWeightFairshare=1000
PriorityWeightAge=100
MaxArraySize=1001
# Thousands of jobs may end within MinJobAge; they count until that is over.
MaxJobCount=100000
MinJobAge={slurm.min_job_age}
KillWait=5
InactiveLimit=0
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
AccountingStoreFlags=job_comment,job_script
GresTypes=gpu
"""
_CPU_NODE = "CPUs=16 Sockets=2 CoresPerSocket=8 RealMemory=64000 Feature=cpu"
_GPU_NODE = "CPUs=32 Sockets=2 CoresPerSocket=16 RealMemory=256000 Gres=gpu:a100:2 Feature=gpu"
_GPUS = ("nvidia0", "nvidia1")


def prepare(site: SiteDescription) -> None:
    """Write the configuration, and make the folders and the simulated GPUs."""
    etc = site.state / "etc"
    ports = {"hostname": site.hostname, "dbd_port": site.slurm.first_port + 1}
    dbd = _SLURMDBD_CONF.format(
        mariadb=site.mariadb, database=DATABASE, password=DATABASE_PASSWORD, **ports
    )
    files.write_file(etc / "slurm" / "slurmdbd.conf", dbd, mode=0o600, owner="slurm")
    conf = _SLURM_CONF.format(slurm=site.slurm, **ports) + "\n".join([*_hardware(site), ""])
    files.write_file(etc / "slurm" / "slurm.conf", conf)
    # No cgroups are used, but the plugin for v2 would exit without a systemd scope.
    files.write_file(etc / "slurm" / "cgroup.conf", "CgroupPlugin=cgroup/v1\n")
    data = files.make_folder(site.state / "srv" / "slurm")
    for gpu in _GPUS:
        _device(data / gpu)
    nodes = ",".join(site.slurm.gpu_nodes)
    gres = f"NodeName={nodes} Name=gpu Type=a100 File=/srv/slurm/nvidia[0-1]\n"
    files.write_file(etc / "slurm" / "gres.conf", gres)
    for name, owner in [("slurmctld", "slurm"), *((node, "root") for node in _nodes(site))]:
        files.make_folder(data / name, owner=owner)
    files.make_folder(site.state / "log" / "slurm", owner="slurm")
    files.make_folder(site.state / "log" / "munge", mode=0o700, owner="munge")
    files.make_folder(site.state / "srv" / "munge", mode=0o700, owner="munge")
    # Never the host's own key: the host may belong to a real cluster.
    key = site.state / "srv" / "munge" / "key"
    if not key.exists():
        files.write_file(key, secrets.token_hex(64), mode=0o400, owner="munge")


def daemons(site: SiteDescription) -> list[Daemon]:
    """Return munge, slurmdbd, slurmctld, and slurmd-NODE for each node."""
    munge = (
        *("--foreground", "--key-file=/srv/munge/key", "--seed-file=/srv/munge/seed"),
        *("--num-threads=4",),
    )
    common = [
        Daemon(
            name="munge",
            command=("/usr/sbin/munged", *munge),
            user="munge",
            ready=("sh", "-c", "munge -n | unmunge"),
            prepare=_prepare_munge,
        ),
        Daemon(
            name="slurmdbd",
            command=("/usr/sbin/slurmdbd", "-D"),
            ready=("sacctmgr", "-n", "show", "cluster"),
            needs=("munge", "mariadb"),
            prepare=_prepare_run,
            seed=lambda machine: _seed_accounts(site, machine),
        ),
        Daemon(
            name="slurmctld",
            command=("/usr/sbin/slurmctld", "-D"),
            ready=("scontrol", "ping"),
            # slurmctld looks up the users of all associations when it starts
            needs=("slurmdbd", "nslcd"),
            prepare=_prepare_run,
        ),
    ]
    return common + [
        Daemon(
            name=f"slurmd-{node}",
            command=("/usr/sbin/slurmd", "-D", "-N", node),
            needs=("munge", "slurmctld"),
        )
        for node in _nodes(site)
    ]


def settle(site: SiteDescription, machine: Machine) -> None:
    """Wait until every node accepts jobs. Raises RuntimeError if some do not.

    After an outage slurmctld contacts the nodes only every few minutes; a reconfiguration makes it
    do so now.
    """

    def all_nodes_up() -> bool:
        try:
            listing = machine.run(["sinfo", "-h", "-N", "-o", "%N %t"], timeout=10)
        except RuntimeError:
            return False
        states = dict(line.split() for line in listing.splitlines())
        return all(states.get(node) in ("idle", "alloc", "mix") for node in _nodes(site))

    try:
        wait_for(all_nodes_up, 1.5, "nodes are down")
    except RuntimeError:
        machine.run(["scontrol", "reconfigure"], timeout=20)
        wait_for(all_nodes_up, 40, "nodes are still down")


def end_jobs(machine: Machine) -> None:
    """Cancel running jobs: Slurm would list them as running long after the next start."""
    running = "squeue -h -t running,suspended,completing -o %A"
    with contextlib.suppress(RuntimeError):  # fails when a daemon is down
        machine.run(["sh", "-c", f"{running} | xargs -r scancel"], timeout=10)
        wait_for(lambda: not machine.run(["sh", "-c", running], timeout=10), 5, "jobs do not end")


def roll_up(machine: Machine) -> None:
    """Make slurmdbd sum up the usage until now for sreport; by itself it does so hourly."""
    hour = datetime.now().replace(minute=0, second=0, microsecond=0)
    span = [time.isoformat() for time in (hour, hour + timedelta(hours=1))]
    machine.run(["sacctmgr", "-i", "roll", *span])


def _nodes(site: SiteDescription) -> tuple[str, ...]:
    return (*site.slurm.cpu_nodes, *site.slurm.gpu_nodes)


def _hardware(site: SiteDescription) -> list[str]:
    """Return the lines of nodes and partitions."""
    first = site.slurm.first_port + 2
    lines = []
    for port, node in enumerate(_nodes(site), first):
        hardware = _GPU_NODE if node in site.slurm.gpu_nodes else _CPU_NODE
        address = f"NodeHostname=localhost NodeAddr=127.0.0.1 Port={port}"
        lines.append(f"NodeName={node} {address} {hardware} State=UNKNOWN")
    debug, batch = site.slurm.partitions
    short = "MaxTime=00:30:00 DefaultTime=00:10:00"
    long = "MaxTime=2-00:00:00 DefaultTime=01:00:00"
    two_nodes, all_nodes = ",".join(site.slurm.cpu_nodes[:2]), ",".join(_nodes(site))
    return [
        *lines,
        f"PartitionName={debug} Nodes={two_nodes} Default=YES {short}",
        f"PartitionName={batch} Nodes={all_nodes} {long}",
    ]


def _device(path: Path) -> None:
    """Make a character device like /dev/null, because Slurm requires one for each GPU."""
    if not path.exists():
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def _prepare_munge(machine: Machine) -> None:
    run = files.make_folder(machine.inside("/run/munge"), owner="munge")
    for stale in run.iterdir():  # the socket of a killed munged
        stale.unlink()


def _prepare_run(machine: Machine) -> None:
    files.make_folder(machine.inside("/run/slurm"), owner="slurm")


def _seed_accounts(site: SiteDescription, machine: Machine) -> None:
    parent, project = site.slurm.accounts
    members = ",".join(user.name for user in site.ldap_users)
    admin = site.admin.name
    commands = [
        f"add cluster {site.slurm.cluster}",
        "add qos high Priority=100 Description=high",
        f"add account {parent} Description={parent} Organization=hpc",
        f"add account {project} parent={parent} Description={project} Organization=hpc",
        f"add user {members} account={project}",
        f"modify account {parent} set qos=normal,high",
        f"add user {admin} account={parent} adminlevel=Admin",
    ]

    def seed() -> None:
        # One sacctmgr reads all commands. It reports what an interrupted attempt has already made
        # as failures and continues, so check only the effect of the last command.
        machine.run(["sh", "-c", "sacctmgr -i || true"], text="\n".join([*commands, ""]))
        level = machine.run(["sacctmgr", "-nP", "show", "user", admin, "format=adminlevel"])
        if level.strip() != "Administrator":
            raise RuntimeError(f"sacctmgr did not make {admin} an administrator: {level!r}")

    files.run_once(machine.state / "srv" / "accounts.made", seed)
