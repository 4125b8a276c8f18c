"""Print what Slurm's programs print, for a made-up cluster with any number of nodes and jobs.

The text has the form of 22.05, and the variety of a real site: drained nodes with reasons, nodes
with GPUs, long paths, pending arrays, jobs on many nodes. The same numbers give the same text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

_NODE = """\
NodeName={name} Arch=x86_64 CoresPerSocket=32 \n   \
CPUAlloc={used} CPUEfctv=124 CPUTot=128 CPULoad={used}.37
   AvailableFeatures=epyc,ib,rack{rack:02}
   ActiveFeatures=epyc,ib,rack{rack:02}
   Gres={gres}
   GresDrain=N/A
   GresUsed={gres_used}
   NodeAddr={name} NodeHostName={name} Version=22.05.8
   OS=Linux 5.14.0-362.8.1.el9_3.x86_64 #1 SMP PREEMPT_DYNAMIC Wed Nov 8 17:36:32 UTC 2023 \n   \
RealMemory=515000 AllocMem={memory} FreeMem=201773 Sockets=2 Boards=1
   CoreSpecCount=2 CPUSpecList=62-63 MemSpecLimit=8192
   State={state} ThreadsPerCore=2 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A
   Partitions={partitions} \n   BootTime=1760000000 SlurmdStartTime=1760000300
   LastBusyTime=1760001000
   CfgTRES=cpu=124,mem=515000M,billing=124
   AllocTRES=cpu={used},mem={memory}M
   CapWatts=n/a
   CurrentWatts=0 AveWatts=0
   ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s
"""
_PARTITION = (
    "PartitionName={name} AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=NO "
    "QoS=N/A DefaultTime=01:00:00 DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO "
    "MaxNodes=UNLIMITED MaxTime=2-00:00:00 MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED "
    "Nodes=cn[0001-{nodes:04}] PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO "
    "OverSubscribe=NO OverTimeLimit=NONE PreemptMode=OFF State=UP TotalCPUs={cpus} "
    "TotalNodes={nodes} SelectTypeParameters=NONE JobDefaults=(null) DefMemPerCPU=500 "
    "MaxMemPerNode=UNLIMITED TRES=cpu={cpus},mem=1T,node={nodes},billing={cpus}\n"
)
_STATES = ("ALLOCATED", "MIXED", "MIXED", "IDLE", "IDLE+DRAIN", "MIXED+PLANNED", "DOWN*")
_PARTITIONS = ("batch", "batch,long", "batch,long,gpu", "debug")


def print_nodes(number: int) -> str:
    """Return what `scontrol --details show node` prints."""
    return "".join(f"{_node(n)}\n" for n in range(1, number + 1))


def print_partitions(nodes: int) -> str:
    """Return what `scontrol --oneliner show partition` prints."""
    names = ("batch", "long", "gpu", "debug")
    return "".join(_PARTITION.format(name=name, nodes=nodes, cpus=nodes * 128) for name in names)


def print_queue(number: int, argv: Sequence[str]) -> str:
    """Return what squeue prints with the option --format or --Format among `argv`."""
    columns = _columns(argv)
    line = "".join(f"%({name})s{end}" for name, end in columns) + "\n"
    return "".join(line % _job(n) for n in range(1, number + 1))


def _node(n: int) -> str:
    has_gpus, state = n % 10 == 0, _STATES[n % len(_STATES)]
    used = {"ALLOCATED": 124, "MIXED": 4 * (n % 31)}.get(state.partition("+")[0], 0)
    text = _NODE.format(
        name=f"cn{n:04}",
        used=used,
        rack=n // 64,
        gres="gpu:a100:4(S:0-1)" if has_gpus else "(null)",
        gres_used=f"gpu:a100:{n % 5}(IDX:0-3)" if has_gpus else "gpu:0",
        memory=used * 4000,
        state=state,
        partitions=_PARTITIONS[n % len(_PARTITIONS)],
    )
    if "DRAIN" in state or "DOWN" in state:
        text += f"   Reason=memory errors on DIMM {n % 16} [root@17600{n:05}]\n"
    return text


def _columns(argv: Sequence[str]) -> list[tuple[str, str]]:
    """Return each column's name, and the word that follows it."""
    for word in argv:
        if word.startswith("--format="):
            return re.findall(r"%([A-Za-z])([^%]*)", word.removeprefix("--format="))
        if word.startswith("--Format="):
            pairs = word.removeprefix("--Format=").split(",")
            return [(name, end) for name, _, end in (pair.partition(":") for pair in pairs)]
    raise ValueError("squeue without a format")


def _job(n: int) -> Mapping[str, object]:
    """Return the values of the columns, by the letters and the names of squeue's formats.

    Any other column is N/A.
    """
    is_running, is_array = n % 3 == 0, n % 7 == 0
    nodes = 64 if n % 50 == 0 else 1
    first = n % 4000
    names = f"cn[{first:04}-{first + nodes - 1:04}]" if nodes > 1 else f"cn{first:04}"
    number, user = 4_000_000 + n, f"user{n % 400:03}"
    folder = f"/lustre/projects/p{n % 90:03}/{user}/simulations/2026/run_{n:06}"
    id = f"{number}_[1-{n % 900 + 1}%20]" if is_array and not is_running else str(number)
    values = {
        "i": id,
        "A": number,
        "j": f"simulation_{n % 5000}_of_the_year",
        "u": user,
        "a": f"p{n % 90:03}",
        "P": "batch" if is_running else _PARTITIONS[n % len(_PARTITIONS)],
        "q": "normal",
        "T": "RUNNING" if is_running else "PENDING",
        "r": "None" if is_running else "Priority",
        "D": nodes,
        "N": names if is_running else "",
        "C": nodes * 16,
        "V": 1_760_000_000 + n,
        "S": 1_760_100_000 + n if is_running else "N/A",
        "e": 1_760_186_400 + n if is_running else "N/A",
        "M": "3:25:10" if is_running else "0:00",
        "l": "1-00:00:00",
        "L": "20:34:50" if is_running else "1-00:00:00",
        "Z": folder,
        "E": "(null)",
        "Q": 10_000 + n % 977,
        "b": "gres:gpu:a100:2" if n % 10 == 0 else "N/A",
        "f": "(null)",
        "o": f"{folder}/job.sh",
        "k": "(null)",
        "JobID": number,
        "tres-alloc": f"cpu={nodes * 16},mem=62.50G,node={nodes},billing={nodes * 16}",
        "tres-per-node": "gres:gpu:a100:2" if n % 10 == 0 else "N/A",
        "NumTasks": nodes * 16,
        "NumNodes": nodes,
    }
    return defaultdict(lambda: "N/A", values)
