"""Show what the priorities of pending jobs are made of, with the weight of each factor."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import configuration, parsing
from operators.slurm.client import ask, on_cluster, unreadable
from operators.slurm.job_types import JobIds, NameList, SlurmCluster, Timestamp
from operators.slurm.jobs.job_queue import QueuedJob, list_jobs
from operators.slurm.known_names import check_accounts, check_partitions
from operators.slurm.parsing import JobId
from resop import Shell, operation

# sprio's letters; a lower-case letter would be the factor without its weight.
_COLUMNS = {
    "id": "i",
    "partition": "r",
    "priority": "Y",
    "age": "A",
    "assoc": "B",
    "fairshare": "F",
    "jobsize": "J",
    "job_partition": "P",
    "qos": "Q",
    "site": "S",
    "nice": "N",
    "tres": "T",
}


class PriorityWeights(TypedDict):
    """The weights of the factors, which are at most 1: the highest number each can add."""

    age: int
    assoc: int
    fairshare: int
    jobsize: int
    partition: int
    qos: int
    tres: dict[str, int]


class PriorityFactors(PriorityWeights):
    """The weighted factors of a job: the priority is their sum, with `nice` subtracted."""

    site: int
    """The number that administrators or the site's plugin add."""
    nice: int


class JobPriority(TypedDict):
    """A pending job's priority in one of its partitions."""

    id: str
    raw_id: int
    name: str
    user: str
    account: str | None
    partition: str
    qos: str | None
    submitted: Timestamp | None
    expected_start: Timestamp | None
    reason: str | None
    """Why the job is pending."""
    priority: int | None
    """The highest one starts first within a partition; 0: the job is held."""
    factors: PriorityFactors | None
    """None for a job that is not ranked: it is held, or cannot start yet (BeginTime, Dependency).
    All are 0 if an administrator has set the priority itself."""


class JobPriorities(TypedDict):
    """The priorities of pending jobs, and how much each factor can add at most."""

    weights: PriorityWeights
    jobs: list[JobPriority]


@operation(share_for=2, examples=[{}, {"users": ["alice"]}, {"ids": ["4242"]}])
def priority(
    shell: Shell,
    users: Annotated[NameList | None, Field(description="only jobs of these users")] = None,
    partitions: Annotated[
        NameList | None, Field(description="only jobs in these partitions")
    ] = None,
    accounts: Annotated[NameList | None, Field(description="only jobs of these accounts")] = None,
    ids: Annotated[
        JobIds | None, Field(description="only these jobs (123) and array tasks (123_4)")
    ] = None,
    cluster: SlurmCluster = None,
) -> JobPriorities:
    """Return the pending jobs that match all filters, the highest priority first.

    A job that may run in several partitions has an entry for each. The pending tasks of an array
    are one entry.
    """
    lists = {"user": users, "partition": partitions, "account": accounts}
    filters = [f"--{name}={','.join(values)}" for name, values in lists.items() if values]
    with on_cluster(cluster):
        settings = configuration.read_configuration(shell)
        configuration.require_multifactor(settings)
        targets = [JobId.parse(each) for each in ids or ()]
        pending = list_jobs(shell, "--states=PENDING", *filters, ids=targets)
        if not pending:
            check_partitions(shell, partitions)
            check_accounts(shell, accounts)
        ranked = _read_factors(shell, users) if pending else {}
    entries = [
        entry
        for job in pending
        for entry in _entries(job, ranked.get(job["raw_id"], {}))
        if partitions is None or entry["partition"] in partitions
    ]
    entries.sort(key=lambda entry: (-(entry["priority"] or 0), entry["raw_id"]))
    return JobPriorities(weights=_weights(settings), jobs=entries)


def _read_factors(
    shell: Shell, users: list[str] | None
) -> dict[int, dict[str, tuple[int, PriorityFactors]]]:
    """Return priority and factors by job number and partition, of the jobs that are ranked."""
    format = "|".join(f"%{letter}" for letter in _COLUMNS.values())
    whose = [f"--user={','.join(users)}"] if users else []
    answer = ask(shell, "sprio", "--noheader", f"--format={format}", *whose)
    found: dict[int, dict[str, tuple[int, PriorityFactors]]] = {}
    for line in answer.lines:
        cells = dict(zip(_COLUMNS, (cell.strip() for cell in line.split("|")), strict=False))
        job, total = parsing.parse_int(cells["id"]), parsing.parse_int(cells.get("priority", ""))
        if len(cells) < len(_COLUMNS) or job is None or total is None:
            raise unreadable("sprio", answer.stdout)
        found.setdefault(job, {})[cells["partition"]] = total, _factors(cells)
    return found


def _factors(cells: dict[str, str]) -> PriorityFactors:
    numbers = {name: parsing.parse_int(cells[name]) or 0 for name in _COLUMNS if name != "tres"}
    return PriorityFactors(
        age=numbers["age"],
        assoc=numbers["assoc"],
        fairshare=numbers["fairshare"],
        jobsize=numbers["jobsize"],
        partition=numbers["job_partition"],
        qos=numbers["qos"],
        tres=parsing.parse_tres(cells["tres"]),
        site=numbers["site"],
        nice=numbers["nice"],
    )


def _entries(
    job: QueuedJob, by_partition: dict[str, tuple[int, PriorityFactors]]
) -> list[JobPriority]:
    if not by_partition:
        return [_entry(job, name, job["priority"], None) for name in job["partition"].split(",")]
    return [_entry(job, name, *ranked) for name, ranked in by_partition.items()]


def _entry(
    job: QueuedJob, partition: str, priority: int | None, factors: PriorityFactors | None
) -> JobPriority:
    return JobPriority(
        id=job["id"],
        raw_id=job["raw_id"],
        name=job["name"],
        user=job["user"],
        account=job["account"],
        partition=partition,
        qos=job["qos"],
        submitted=job["submitted"],
        expected_start=job["expected_start"],
        reason=job["reason"],
        priority=priority,
        factors=factors,
    )


def _weights(settings: configuration.Configuration) -> PriorityWeights:
    def weight(name: str) -> int:
        return parsing.parse_int(settings.get(f"PriorityWeight{name}", "")) or 0

    return PriorityWeights(
        age=weight("Age"),
        assoc=weight("Assoc"),
        fairshare=weight("FairShare"),
        jobsize=weight("JobSize"),
        partition=weight("Partition"),
        qos=weight("QOS"),
        # As the administrator wrote it: CPU=1000,GRES/gpu=2000.
        tres=parsing.parse_tres(settings.get("PriorityWeightTRES", "").lower()),
    )
