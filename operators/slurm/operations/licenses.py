"""List the licenses that jobs can request: how many there are, in use, free and reserved."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from operators.slurm import listings, parsing
from operators.slurm.client import on_cluster
from operators.slurm.cluster.license_counts import read_licenses
from operators.slurm.job_types import NameList, SlurmCluster, Timestamp
from resop import Shell, operation


class License(TypedDict):
    """A license."""

    name: str
    """As jobs request it: matlab, or ansys@flex1 for one of a license server."""
    total: int
    used: int
    """The number that jobs of this cluster use."""
    free: int
    reserved: int
    """The number that reservations keep."""
    remote: bool
    """True for one that the accounting database has, which several clusters may share."""
    last_consumed: int | None
    """The number in use anywhere, as the license server last reported (Slurm 23.02 and newer)."""
    last_deficit: int | None
    """The number in use elsewhere beyond the share of others; they are not free."""
    updated: Timestamp | None
    """When the license server last reported."""
    node_names: list[str]
    """The nodes where it can be used, if not everywhere (Slurm 25.05 and newer)."""


@operation(share_for=5, examples=[{}, {"names": ["matlab"]}])
def licenses(
    shell: Shell,
    names: Annotated[NameList | None, Field(description="only these licenses")] = None,
    cluster: SlurmCluster = None,
) -> list[License]:
    """Return the licenses, ordered by name; an empty list if the cluster has none.

    One of several groups of nodes (`node_names`) has an entry for each.
    """
    with on_cluster(cluster):
        found = [_license(row) for row in read_licenses(shell)]
    return [each for each in found if names is None or each["name"] in names]


def _license(row: listings.TableRow) -> License:
    total, used, free, reserved = (
        parsing.parse_int(row[name]) or 0 for name in ("Total", "Used", "Free", "Reserved")
    )
    return License(
        name=row["LicenseName"],
        total=total,
        used=used,
        # Slurm prints less than none as 2**32 less that number.
        free=free if free <= total else 0,
        reserved=reserved,
        remote=row["Remote"] == "yes",
        last_consumed=parsing.parse_int(row.get("LastConsumed", "")),
        last_deficit=parsing.parse_int(row.get("LastDeficit", "")),
        updated=parsing.parse_time(row.get("LastUpdate", "")),
        node_names=parsing.expand_nodes(row.get("Nodes", "")),
    )
