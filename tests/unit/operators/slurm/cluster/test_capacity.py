"""The resources of nodes, in parts that add up; and one answer that agrees with another."""

from typing import Any

from bench.synthetic_slurm import print_nodes, print_partitions, print_queue
from operators.slurm.cluster.capacity import Capacity, measure
from operators.slurm.cluster.node_records import parse_node
from operators.slurm.operations.nodes import nodes
from operators.slurm.operations.overview import overview
from operators.slurm.operations.partitions import partitions
from resop.testing import FakeShell

NODES, JOBS = 80, 60


def node(**fields: object) -> str:
    """Return a record as scontrol prints it; `fields` replace those of an idle node."""
    usual = {
        "CPUAlloc": 0,
        "CPUEfctv": 32,
        "CPUTot": 32,
        "RealMemory": 1000,
        "AllocMem": 0,
        "Sockets": 2,
        "State": "IDLE",
        "CoresPerSocket": 8,
        "ThreadsPerCore": 2,
    }
    words = " ".join(f"{name}={value}" for name, value in (usual | fields).items())
    return f"NodeName=n1 {words}"


def parts(capacity: Capacity) -> tuple[int, int, int]:
    total = capacity["allocated"] + capacity["available"] + capacity["unavailable"]
    assert total == capacity["total"]
    return capacity["allocated"], capacity["available"], capacity["unavailable"]


def test_parts_of_a_node_add_up() -> None:
    """Each case: fields; allocated, available and unavailable CPUs; the same of cores."""
    mixed = {"State": "MIXED", "CPUAlloc": 3}
    cases: list[tuple[dict[str, Any], tuple[int, int, int], tuple[int, int, int]]] = [
        ({}, (0, 32, 0), (0, 16, 0)),
        (mixed, (3, 29, 0), (2, 14, 0)),
        ({"State": "ALLOCATED", "CPUAlloc": 32}, (32, 0, 0), (16, 0, 0)),
        # set aside for the system
        ({"CPUEfctv": 28}, (0, 28, 4), (0, 14, 2)),
        ({**mixed, "CPUEfctv": 28, "CPUAlloc": 28}, (28, 0, 4), (14, 0, 2)),
        # a release that prints no CPUEfctv, and a site whose CPUs are cores
        ({"CPUEfctv": ""}, (0, 32, 0), (0, 16, 0)),
        ({"CPUTot": 16, "CPUEfctv": 16, **mixed}, (3, 13, 0), (3, 13, 0)),
        # fewer CPUs than cores; no topology at all
        ({"CPUTot": 4, "CPUEfctv": 4}, (0, 4, 0), (0, 4, 0)),
        ({"Sockets": 0, "CoresPerSocket": 0}, (0, 32, 0), (0, 32, 0)),
        # jobs that share CPUs
        ({"State": "ALLOCATED", "CPUAlloc": 64}, (32, 0, 0), (16, 0, 0)),
        # not for anybody's jobs
        *(
            ({**mixed, "State": f"MIXED+{flag}"}, (3, 0, 29), (2, 0, 14))
            for flag in ("DRAIN", "MAINTENANCE", "RESERVED", "FAIL", "NOT_RESPONDING")
        ),
        ({"State": "DOWN*"}, (0, 0, 32), (0, 0, 16)),
        ({"State": "UNKNOWN"}, (0, 0, 32), (0, 0, 16)),
        # powered down until a job needs it, and planned for a job that starts later
        ({"State": "IDLE+CLOUD+POWERED_DOWN"}, (0, 32, 0), (0, 16, 0)),
        ({"State": "IDLE+PLANNED"}, (0, 32, 0), (0, 16, 0)),
    ]
    for fields, cpus, cores in cases:
        measured = measure(parse_node(node(**fields)))
        assert parts(measured.cpus) == cpus, fields
        assert parts(measured.cores) == cores, fields


def test_a_node_with_jobs_is_allocated_and_an_empty_one_is_available_or_not() -> None:
    cases = {
        "IDLE": (0, 1, 0),
        "MIXED": (1, 0, 0),
        "ALLOCATED+DRAIN": (1, 0, 0),
        "IDLE+COMPLETING": (1, 0, 0),
        "IDLE+DRAIN": (0, 0, 1),
        "IDLE+MAINTENANCE": (0, 0, 1),
        "DOWN": (0, 0, 1),
    }
    for state, expected in cases.items():
        assert parts(measure(parse_node(node(State=state))).nodes) == expected, state


def test_memory_and_gpus_in_all_in_use_and_free() -> None:
    gpus = {
        "Gres": "gpu:a100:4(S:0-1),gpu:2",
        "GresUsed": "gpu:a100:1(IDX:0),gpu:(null):2(IDX:4-5)",
    }
    memory = {"AllocMem": 300, "MemSpecLimit": 100}
    measured = measure(parse_node(node(State="MIXED", CPUAlloc=1, **gpus, **memory)))
    assert parts(measured.memory) == (300 << 20, 600 << 20, 100 << 20)
    assert {kind: parts(each) for kind, each in measured.gpus.items()} == {
        "a100": (1, 3, 0),
        "gpu": (2, 0, 0),
    }
    drained = measure(parse_node(node(State="IDLE+DRAIN", **gpus, **memory)))
    assert parts(drained.memory) == (300 << 20, 0, 700 << 20)
    assert parts(drained.gpus["a100"]) == (1, 0, 3)
    # more than there is: nodes lend memory that they do not have
    full = measure(parse_node(node(State="ALLOCATED", CPUAlloc=32, AllocMem=2000)))
    assert parts(full.memory) == (1000 << 20, 0, 0)


def synthetic(*steps: str) -> FakeShell:
    """Return a shell that answers for a synthetic cluster."""
    shell = FakeShell(username="user001")
    for command in steps:
        words = [word.strip("'") for word in command.split()]
        if words[0] == "squeue":
            printed = print_queue(JOBS, words)
        elif words[-1] == "node":
            printed = print_nodes(NODES)
        else:
            printed = print_partitions(NODES)
        shell.expect(command, stdout=printed)
    return shell


SHOW_NODES = "scontrol --all --details show node"
SHOW_PARTITIONS = "scontrol --all --oneliner show partition"
COUNT_JOBS = "squeue --noheader --all '--format=%i~%T~%P~%u~'"


def test_overview_agrees_with_nodes_partitions_and_jobs() -> None:
    whole = overview(synthetic(SHOW_NODES, SHOW_PARTITIONS, COUNT_JOBS))
    listed = nodes(synthetic(SHOW_NODES))
    parted = partitions(synthetic(SHOW_PARTITIONS, SHOW_NODES))
    assert isinstance(listed, list) and isinstance(parted, list)
    assert len(listed) == whole["nodes"]["total"] == NODES
    assert sum(whole["nodes_by_status"].values()) == NODES
    for resource in ("cpus", "memory"):
        total, allocated, available = (
            sum(each[f"{part}{resource}"] for each in listed)  # type: ignore[literal-required]
            for part in ("", "allocated_", "available_")
        )
        assert whole[resource]["total"] == total
        assert parts(whole[resource])[:2] == (allocated, available)
    gpus = [each["gpus"]["a100"] for each in listed if each["gpus"]]
    assert parts(whole["gpus"])[:2] == (
        sum(each["allocated"] for each in gpus),
        sum(each["available"] for each in gpus),
    )
    assert whole["gpus_by_type"] == {"a100": whole["gpus"]}
    for each, told in zip(whole["partitions"], parted, strict=True):
        assert each["name"] == told["name"]
        assert each["nodes_by_status"] == told["nodes_by_state"]
        assert each["cpus"]["allocated"] == told["cpus"]["allocated"]
        assert each["memory"]["available"] == told["available_memory"]
        assert each["gpus"]["available"] == told["available_gpus"]


def test_tasks_of_pending_arrays_are_counted_one_by_one() -> None:
    printed = print_queue(JOBS, ["--format=%i~%T~%P~%u~"])
    whole = overview(synthetic(SHOW_NODES, SHOW_PARTITIONS, COUNT_JOBS))
    arrays = [line for line in printed.splitlines() if "_[" in line]
    tasks = sum(int(line.split("-")[1].split("%")[0]) for line in arrays)
    assert len(arrays) > 3
    assert whole["jobs"]["total"] == JOBS - len(arrays) + tasks
    assert sum(whole["jobs"]["by_state"].values()) == whole["jobs"]["total"]
    assert whole["own_jobs"] == {"total": 1, "by_state": {"PENDING": 1}}
