"""Show the user's and the user's groups' quotas: space and files in use, and their limits."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from resop import Result, Shell, operation

BLOCK_BYTES = 1024
"""The size of quota(1)'s blocks."""
COMMAND_NOT_FOUND = 127
_HEADING = re.compile(r"Disk quotas for (user|group) (.*) \([ug]id \d+\):.*")
# Use, soft limit, hard limit and end of grace; for blocks, then for files. 0: none.
_FIGURES = r"\s+(\d+)\*?\s+(\d+)\s+(\d+)\s+(\d+)"
_ROW = re.compile(rf"\s*(.+?){_FIGURES}{_FIGURES}")


class QuotaUsage(TypedDict):
    """Use and limits; None means no limit.

    More than `soft` is allowed until `grace_ends`, more than `hard` never.
    """

    used: int
    soft: int | None
    hard: int | None
    grace_ends: datetime | None


class Quota(TypedDict):
    """The quota of a user or group on a file system, named by its mount point.

    `space` is in bytes, `files` counts inodes.
    """

    file_system: str
    kind: Literal["user", "group"]
    name: str
    space: QuotaUsage
    files: QuotaUsage


@operation(examples=[{}, {"groups": False}])
def quota(
    shell: Shell,
    groups: Annotated[bool, Field(description="include the quotas of the user's groups")] = True,
) -> list[Quota]:
    """Return the quotas that have a limit.

    The log names file servers that do not answer. Fails if the login node has no quota(1), which
    queries the kernel and NFS servers; Lustre and GPFS have their own programs.
    """
    flags = ("--verbose", "--no-wrap", "--raw-grace", "--show-mntpoint", "--hide-device")
    kinds = ("--user", *(["--group"] if groups else []))
    # quota exits with 1 if a limit is reached, and if there are no quotas.
    result = shell.run("quota", *flags, *kinds, env={"LC_ALL": "C"}, timeout=60, check=False)
    if result.exit_code == COMMAND_NOT_FOUND:
        shell.fail("the login node has no quota program: install the package quota or quota-tools")
    errors = result.stderr.strip()
    if result.exit_code > 1 or (errors and not result.stdout):
        raise result.failure()
    if errors:
        shell.log(errors)
    return [each for each in parse_quotas(result) if has_limit(each)]


def parse_quotas(result: Result) -> Iterator[Quota]:
    """Yield the quotas of all file systems, with or without limits."""
    kind, name = "user", ""
    for line in result.lines:
        if heading := _HEADING.fullmatch(line):
            kind, name = heading[1], heading[2]
        elif row := _ROW.fullmatch(line):
            numbers = [int(each) for each in row.groups()[1:]]
            yield Quota(
                file_system=row[1],
                kind="group" if kind == "group" else "user",
                name=name,
                space=parse_quota(numbers[:4], BLOCK_BYTES),
                files=parse_quota(numbers[4:], 1),
            )


def parse_quota(numbers: list[int], unit: int) -> QuotaUsage:
    """Convert four numbers of a row; `unit` is the size of one in bytes or files."""
    used, soft, hard, grace = numbers
    return QuotaUsage(
        used=used * unit,
        soft=soft * unit or None,
        hard=hard * unit or None,
        grace_ends=datetime.fromtimestamp(grace, UTC) if grace else None,
    )


def has_limit(quota: Quota) -> bool:
    """Return True if the quota has any limit."""
    return any(each["soft"] or each["hard"] for each in (quota["space"], quota["files"]))
