"""Find out what a pending job waits for: jobs, licences, a reservation, a limit, other jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from typing_extensions import TypedDict

from operators.slurm import accounting, listings, parsing
from operators.slurm.client import ask
from operators.slurm.job_types import Job, Timestamp
from operators.slurm.jobs.job_outcome import count_by_state, count_tasks, select
from operators.slurm.jobs.job_queue import id_filter, list_jobs
from operators.slurm.parsing import JobId
from operators.slurm.reasons.reason_words import NamedLimit, limit_of
from resop import CommandFailed, DaemonUnavailable, OperationFailed, Shell

# afterok:20(unfulfilled), afterany:21_*(failed), after:22+10(unfulfilled), singleton(unfulfilled)
_CONDITION = re.compile(r"([a-z]+)(?::([0-9]+)(?:_([0-9]+|\*))?(?:\+[0-9]+)?)?\(([a-z]+)\)")
_LICENSE = re.compile(r"([^,:]+)(?::([0-9]+))?")
_COLUMNS = {"id": "i", "raw_id": "A", "reservation": "v", "licenses": "W"}
_PARTITION_LIMITS = {"PartitionTimeLimit": "MaxTime", "PartitionNodeLimit": "MaxNodes"}
_OWNER_COLUMNS = ("account", "user", "parentname")


class Prerequisite(TypedDict):
    """A condition of a job's dependency that is not met yet."""

    condition: str
    """Slurm's word: afterok, afterany, afternotok, aftercorr, after, singleton, …"""
    job: str | None
    """The id of the job that it is about; None for `singleton`."""
    status: str
    """Slurm's word: unfulfilled, or failed if it can never be met."""
    states: dict[str, int]
    """The number of that job's parts by state now; empty for a job that Slurm does not know."""


class RequestedLicense(TypedDict):
    """A licence that a job asks for."""

    name: str
    requested: int
    total: int | None
    used: int | None
    free: int | None


class JobReservation(TypedDict):
    """The reservation of a job."""

    name: str
    state: str | None
    """ACTIVE or INACTIVE; None for a reservation that does not exist."""
    start: Timestamp | None
    end: Timestamp | None


class ReachedLimit(TypedDict):
    """The limit that a job waits for."""

    name: str
    """As sacctmgr calls it: GrpTRES, MaxJobsPU, …; of a partition: MaxTime, MaxNodes."""
    owner: str
    """`qos normal`, `account project1`, `alice in project1`, or `partition batch`."""
    value: str
    """In Slurm's form: 2, cpu=64, 1-00:00:00."""


class Requirements(TypedDict):
    """Reservation and licences that a pending job asks for."""

    reservation: str | None
    licenses: dict[str, int]


def read_prerequisites(shell: Shell, dependency: str | None) -> list[Prerequisite]:
    """Return the conditions that are not met, each with the states of its job now."""
    found = _CONDITION.findall(dependency or "")
    ids = [JobId(int(number)) for _, number, _, _ in found if number]
    jobs = _find_jobs(shell, [*dict.fromkeys(ids)]) if ids else []
    return [_prerequisite(jobs, *each) for each in found]


def read_requirements(shell: Shell, job: JobId) -> Requirements:
    """Return the reservation and the licences that a pending job asks for.

    They are the same for all tasks of an array.
    """
    rows = listings.squeue(shell, _COLUMNS, "--states=PENDING", *id_filter([job]))
    same = [row for row in rows if job.component == JobId.parse(row["id"]).component]
    row = next(iter(same), {})
    licenses = _LICENSE.findall(parsing.parse_text(row.get("licenses", "")) or "")
    return Requirements(
        reservation=parsing.parse_text(row.get("reservation", "")),
        licenses={name: int(number or 1) for name, number in licenses},
    )


def read_requested_licenses(shell: Shell, requested: dict[str, int]) -> list[RequestedLicense]:
    """Return how many of the licences there are, and how many of them are in use."""
    answer = ask(shell, "scontrol", "--oneliner", "show", "licenses", check=False)
    known = {row.get("LicenseName", ""): row for row in listings.records(answer.lines)}
    return [
        RequestedLicense(
            name=name,
            requested=number,
            total=parsing.parse_int(known.get(name, {}).get("Total", "")),
            used=parsing.parse_int(known.get(name, {}).get("Used", "")),
            free=parsing.parse_int(known.get(name, {}).get("Free", "")),
        )
        for name, number in requested.items()
    ]


def read_reservation(shell: Shell, name: str) -> JobReservation:
    """Return when a reservation is active."""
    answer = ask(shell, "scontrol", "--oneliner", "show", "reservation", name, check=False)
    row = next(iter(listings.records(answer.lines)), {}) if answer.exit_code == 0 else {}
    return JobReservation(
        name=name,
        state=row.get("State"),
        start=parsing.parse_time(row.get("StartTime", "")),
        end=parsing.parse_time(row.get("EndTime", "")),
    )


def read_limit(
    shell: Shell, reason: str, *, partition: str, qos: str | None, account: str | None, user: str
) -> ReachedLimit | None:
    """Return the limit that a reason names; None if it names none, or its value is not known."""
    try:
        if reason in _PARTITION_LIMITS:
            return _partition_limit(shell, _PARTITION_LIMITS[reason], partition)
        limit = limit_of(reason)
        if limit is None:
            return None
        if limit.owner == "qos":
            return _qos_limit(shell, limit, partition, qos)
        return _association_limit(shell, limit, account, user)
    except (CommandFailed, DaemonUnavailable, OperationFailed) as fault:
        shell.log(f"the limit is unknown: {fault.message}")
        return None


def count_jobs_ahead(shell: Shell, partition: str, priority: int) -> int:
    """Count the pending jobs and tasks with a higher priority in a partition, or in several."""
    jobs = list_jobs(shell, "--states=PENDING", f"--partition={partition}")
    return count_tasks(job for job in jobs if (job["priority"] or 0) > priority)


def _find_jobs(shell: Shell, ids: Sequence[JobId]) -> list[Job]:
    """Return jobs from the queue, and jobs that have left it from the accounting database."""
    queued = list_jobs(shell, "--states=all", ids=ids)
    known = {number for job in queued for number in (job["job"], job["raw_id"])}
    missing = sorted({each.job for each in ids} - known)
    if not missing:
        return [*queued]
    try:
        past = accounting.list_past_jobs(shell, f"--jobs={','.join(map(str, missing))}")
    except (CommandFailed, DaemonUnavailable) as fault:
        shell.log(f"jobs that have left the queue are unknown: {fault.message}")
        past = []
    return [*queued, *past]


def _prerequisite(
    jobs: Iterable[Job], condition: str, number: str, task: str, status: str
) -> Prerequisite:
    is_task = task not in ("", "*")
    target = JobId(int(number), task=int(task) if is_task else None) if number else None
    return Prerequisite(
        condition=condition,
        job=(f"{number}_{task}" if is_task else number) or None,
        status=status,
        states=count_by_state(select(jobs, target)) if target else {},
    )


def _partition_limit(shell: Shell, name: str, partition: str) -> ReachedLimit | None:
    value = _read_partition(shell, partition).get(name)
    return ReachedLimit(name=name, owner=f"partition {partition}", value=value) if value else None


def _qos_limit(
    shell: Shell, limit: NamedLimit, partition: str, qos: str | None
) -> ReachedLimit | None:
    """Return the limit of the partition's QOS, which comes first, or that of the job's."""
    of_partition = parsing.parse_text(_read_partition(shell, partition).get("QoS", ""))
    for name in filter(None, (of_partition, qos)):
        rows = listings.sacctmgr(shell, ["name", limit.column], "qos", f"name={name}")
        if rows and (value := _value(rows[0][limit.column], limit.resource)):
            return ReachedLimit(name=limit.column, owner=f"qos {name}", value=value)
    return None


def _read_partition(shell: Shell, name: str) -> listings.TableRow:
    """Return the settings of a partition; empty for several, of which it is not clear which."""
    answer = ask(shell, "scontrol", "--oneliner", "show", "partition", name, check=False)
    rows = listings.records(answer.lines)
    return rows[0] if answer.exit_code == 0 and len(rows) == 1 else {}


def _association_limit(
    shell: Shell, limit: NamedLimit, account: str | None, user: str
) -> ReachedLimit | None:
    """Return the limit of the user in the account, or the nearest one of the accounts above."""
    columns = [*_OWNER_COLUMNS, limit.column]
    own = listings.sacctmgr(shell, columns, "associations", f"account={account}", f"user={user}")
    accounts = listings.sacctmgr(shell, columns, "associations", "user=")
    above = {row["account"]: row for row in accounts if not row["user"]}
    name = account or ""
    for row in own:
        if value := _value(row[limit.column], limit.resource):
            return ReachedLimit(name=limit.column, owner=f"{user} in {account}", value=value)
    while name in above:
        row = above.pop(name)
        if value := _value(row[limit.column], limit.resource):
            return ReachedLimit(name=limit.column, owner=f"account {name}", value=value)
        name = row["parentname"]
    return None


def _value(text: str, resource: str | None) -> str | None:
    """Return a limit's value; of a list of resources only the one that is meant."""
    if "=" not in text or resource is None:
        return text or None
    chosen = [each for each in text.split(",") if re.match(rf"{resource}[/=]", each)]
    return ",".join(chosen) or None
