"""Show the disk space of a file or folder, and the free space of its file system."""

from typing_extensions import TypedDict

from resop import RemotePath, Result, Shell, operation

# stat(1): block size, blocks, blocks free for users, inodes, free inodes, type.
STAT_FORMAT = "%S %b %a %c %d %T"


class FileSystem(TypedDict):
    """A file system; sizes in bytes. `available`: free for users other than root."""

    type: str
    size: int
    available: int
    inodes: int
    inodes_available: int


class DiskUsage(TypedDict):
    """Bytes on disk and inodes; a file with several names counts once.

    `complete` is false if a part could not be read, or disappeared meanwhile: it is not counted.
    """

    bytes: int
    inodes: int
    complete: bool
    file_system: FileSystem


@operation(resumable=True, examples=[{}, {"path": "/scratch/alice"}])
def disk_usage(shell: Shell, path: RemotePath = ".") -> DiskUsage:
    """Return the space of the path and everything below it; a link counts as its target.

    Fails with PathFailed, whose `reason` is missing or denied.
    """
    block_size, blocks, free, inodes, free_inodes, kind = shell.run(
        "stat", "--file-system", f"--format={STAT_FORMAT}", "--", path, path=path
    ).stdout.split(maxsplit=5)
    space, count = shell.map(lambda unit: run_du(shell, path, unit), ["--block-size=1", "--inodes"])
    return DiskUsage(
        bytes=parse_total(space),
        inodes=parse_total(count),
        complete=space.exit_code == count.exit_code == 0,
        file_system=FileSystem(
            type=kind.strip(),
            size=int(blocks) * int(block_size),
            available=int(free) * int(block_size),
            inodes=int(inodes),
            inodes_available=int(free_inodes),
        ),
    )


def run_du(shell: Shell, path: str, unit: str) -> Result:
    """Run du, which prints a total even if it exits with 1 for a part it could not read."""
    argv = ("du", "--summarize", "--dereference-args", unit, "--", path)
    result = shell.run(*argv, path=path, check=False)
    if not result.stdout:
        raise result.path_failure(path)
    return result


def parse_total(result: Result) -> int:
    """Return the number that du printed."""
    return int(result.stdout.split("\t", 1)[0])
