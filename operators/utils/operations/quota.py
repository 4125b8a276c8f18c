"""What quotas allow: space and files used by the user and the user's groups, and their limits."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from resop import Result, Shell, operation

BLOCK = 1024
"""Bytes of quota(1)'s blocks."""
NO_SUCH_PROGRAM = 127
HEADING = re.compile(r"Disk quotas for (user|group) (.*) \([ug]id \d+\):.*")
# Used, soft limit, hard limit, when grace ends; of blocks, then of files. 0 for none.
NUMBERS = r"\s+(\d+)\*?\s+(\d+)\s+(\d+)\s+(\d+)"
ROW = re.compile(rf"\s*(.+?){NUMBERS}{NUMBERS}")


class Limits(TypedDict):
    """How much is used, and how much may be; a limit that there is not is null.

    More than `soft` is allowed until `grace_ends`, more than `hard` never.
    """

    used: int
    soft: int | None
    hard: int | None
    grace_ends: datetime | None


class Quota(TypedDict):
    """A quota of a user or group on a file system, told by where that is mounted.

    `space` is in bytes, `files` counts inodes.
    """

    file_system: str
    kind: Literal["user", "group"]
    name: str
    space: Limits
    files: Limits


@operation(examples=[{}, {"groups": False}])
def quota(
    shell: Shell,
    groups: Annotated[bool, Field(description="also those of the user's groups")] = True,
) -> list[Quota]:
    """Return the quotas that limit anything; none where there are none.

    A file server that does not answer is named in the log. Fails where the login node has no
    quota(1), which asks the kernel, and file servers (NFS); Lustre and GPFS have their own.
    """
    form = ("--verbose", "--no-wrap", "--raw-grace", "--show-mntpoint", "--hide-device")
    kinds = ("--user", *(["--group"] if groups else []))
    # It ends with 1 where a limit is reached, and where there are no quotas.
    asked = shell.run("quota", *form, *kinds, env={"LC_ALL": "C"}, timeout=60, check=False)
    if asked.exit_code == NO_SUCH_PROGRAM:
        shell.fail("the login node has no program quota (package quota, or quota-tools)")
    said = asked.stderr.strip()
    if asked.exit_code > 1 or (said and not asked.stdout):
        raise asked.failure()
    if said:
        shell.log(said)
    return [each for each in quotas(asked) if limits(each)]


def quotas(asked: Result) -> Iterator[Quota]:
    """Those of each file system, limited or not."""
    kind, name = "user", ""
    for line in asked.lines:
        if heading := HEADING.fullmatch(line):
            kind, name = heading[1], heading[2]
        elif row := ROW.fullmatch(line):
            numbers = [int(each) for each in row.groups()[1:]]
            yield Quota(
                file_system=row[1],
                kind="group" if kind == "group" else "user",
                name=name,
                space=read_limits(numbers[:4], BLOCK),
                files=read_limits(numbers[4:], 1),
            )


def read_limits(numbers: list[int], unit: int) -> Limits:
    """Four numbers of a row."""
    used, soft, hard, grace = numbers
    return Limits(
        used=used * unit,
        soft=soft * unit or None,
        hard=hard * unit or None,
        grace_ends=datetime.fromtimestamp(grace, UTC) if grace else None,
    )


def limits(quota: Quota) -> bool:
    """Whether it has any limit."""
    return any(each["soft"] or each["hard"] for each in (quota["space"], quota["files"]))
