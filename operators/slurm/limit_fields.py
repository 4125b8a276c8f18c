"""The limits that associations and qualities of service have in common."""

from __future__ import annotations

from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.job_types import Seconds

SHARED_COLUMNS = [
    *("GrpJobs", "GrpSubmit", "GrpWall", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins"),
    *("MaxWall", "MaxTRES", "MaxTRESPerNode", "MaxTRESMins"),
]
"""The columns of sacctmgr for them."""


class SharedLimits(TypedDict):
    """Limits of all jobs together, and of each job."""

    group_jobs: int | None
    group_submitted_jobs: int | None
    group_wall: Seconds | None
    group_resources: dict[str, int]
    group_resource_minutes: dict[str, int]
    group_running_minutes: dict[str, int]
    max_wall: Seconds | None
    max_resources: dict[str, int]
    max_resources_per_node: dict[str, int]
    max_resource_minutes: dict[str, int]


def shared_limits(row: listings.TableRow) -> SharedLimits:
    """Return the limits in a row of sacctmgr."""
    return SharedLimits(
        group_jobs=parsing.parse_int(row["GrpJobs"]),
        group_submitted_jobs=parsing.parse_int(row["GrpSubmit"]),
        group_wall=parsing.parse_duration(row["GrpWall"]),
        group_resources=parsing.parse_tres(row["GrpTRES"]),
        group_resource_minutes=parsing.parse_tres(row["GrpTRESMins"]),
        group_running_minutes=parsing.parse_tres(row["GrpTRESRunMins"]),
        max_wall=parsing.parse_duration(row["MaxWall"]),
        max_resources=parsing.parse_tres(row["MaxTRES"]),
        max_resources_per_node=parsing.parse_tres(row["MaxTRESPerNode"]),
        max_resource_minutes=parsing.parse_tres(row["MaxTRESMins"]),
    )
