"""Read limits of associations and qualities of service, and how much of them is used.

sacctmgr prints what is configured: `cpu=100,mem=4G`. `scontrol show assoc_mgr` prints what
slurmctld enforces, with the use in parentheses: `cpu=100(16),mem=N(4096)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from operators.slurm import parsing

LimitName = Literal[
    "group_jobs",
    "group_submitted_jobs",
    "group_wall",
    "group_resources",
    "group_resource_minutes",
    "group_running_minutes",
    "max_jobs",
    "max_submitted_jobs",
    "max_jobs_per_user",
    "max_submitted_jobs_per_user",
    "max_resources_per_user",
    "max_running_minutes_per_user",
    "max_jobs_per_account",
    "max_submitted_jobs_per_account",
    "max_resources_per_account",
    "max_running_minutes_per_account",
]

GROUP_COLUMNS = ("GrpJobs", "GrpSubmit", "GrpWall", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins")
"""sacctmgr's columns of limits for all jobs together."""
ASSOCIATION_COLUMNS = (*GROUP_COLUMNS, "MaxJobs", "MaxSubmit")
QOS_COLUMNS = (
    *GROUP_COLUMNS,
    *("MaxJobsPU", "MaxSubmitPU", "MaxTRESPU", "MaxJobsPA", "MaxSubmitPA", "MaxTRESPA"),
)

_NAMES: dict[str, LimitName] = {
    "GrpJobs": "group_jobs",
    "GrpSubmit": "group_submitted_jobs",
    "GrpWall": "group_wall",
    "GrpTRES": "group_resources",
    "GrpTRESMins": "group_resource_minutes",
    "GrpTRESRunMins": "group_running_minutes",
    "MaxJobs": "max_jobs",
    "MaxSubmit": "max_submitted_jobs",
    "MaxJobsPU": "max_jobs_per_user",
    "MaxSubmitPU": "max_submitted_jobs_per_user",
    "MaxTRESPU": "max_resources_per_user",
    "MaxTRESRunMinsPU": "max_running_minutes_per_user",
    "MaxJobsPA": "max_jobs_per_account",
    "MaxSubmitPA": "max_submitted_jobs_per_account",
    "MaxTRESPA": "max_resources_per_account",
    "MaxTRESRunMinsPA": "max_running_minutes_per_account",
}
_COUNT = re.compile(r"(?:([^=,()]+)=)?(N|[0-9]+)\(([0-9]+(?:\.[0-9]+)?)\)")


class LimitKey(NamedTuple):
    """The kind of a limit; `resource` is None for jobs and time."""

    name: LimitName
    resource: str | None = None


class CountedLimit(NamedTuple):
    """A limit that slurmctld enforces, or None; and how much of it is used."""

    limit: int | None
    used: int


ConfiguredLimits = dict[LimitKey, int]
CountedLimits = dict[LimitKey, CountedLimit]
"""Jobs; seconds; resources in counts and bytes, multiplied by minutes where the name says so."""


def is_shared(key: LimitKey) -> bool:
    """Return True for a limit that all jobs below an account, or of a QOS, share."""
    return key.name.startswith("group_")


def configured_limits(row: Mapping[str, str]) -> ConfiguredLimits:
    """Return the limits in a row of sacctmgr."""
    return {
        LimitKey(name, resource): limit
        for column, name in _NAMES.items()
        for resource, limit in _configured(column, row.get(column, ""))
    }


def counted_limits(fields: Mapping[str, str]) -> CountedLimits:
    """Return the limits in the fields of `scontrol show assoc_mgr`, and their use."""
    return {
        LimitKey(_NAMES[column], resource): count
        for field, text in fields.items()
        if (column := field.replace("SubmitJobs", "Submit")) in _NAMES
        for resource, count in _counted(column, text)
    }


def _configured(column: str, text: str) -> Iterator[tuple[str | None, int]]:
    if "TRES" in column:
        yield from parsing.parse_tres(text).items()
        return
    is_time = column == "GrpWall"
    limit = parsing.parse_duration(text) if is_time else parsing.parse_int(text)
    if limit is not None:
        yield None, limit


def _counted(column: str, text: str) -> Iterator[tuple[str | None, CountedLimit]]:
    for resource, limit, used in _COUNT.findall(text):
        unit = 60 if column == "GrpWall" else parsing.resource_unit(resource)
        in_use = round(float(used) * unit) if "." in used else int(used) * unit
        yield resource or None, CountedLimit(None if limit == "N" else int(limit) * unit, in_use)
