"""How much disk space a file or folder takes, and how much its file system has left."""

from typing_extensions import TypedDict

from resop import RemotePath, Result, Shell, operation

# Of stat(1): the size of a block, blocks, those free for users; inodes, those free; the type.
FORMAT = "%S %b %a %c %d %T"


class FileSystem(TypedDict):
    """A file system; sizes in bytes. `available` is what users other than root can still take."""

    type: str
    size: int
    available: int
    inodes: int
    inodes_available: int


class Answer(TypedDict):
    """Bytes on the disk and inodes, each file counted once however many names it has.

    Not `complete`: a part was denied, or went away meanwhile, and is not counted.
    """

    bytes: int
    inodes: int
    complete: bool
    file_system: FileSystem


@operation(resumable=True, examples=[{}, {"path": "/scratch/alice"}])
def disk_usage(shell: Shell, path: RemotePath = ".") -> Answer:
    """Return the space taken by the path and all below it; of a link, by what it points to.

    Fails with PathFailed, whose `reason` is missing or denied.
    """
    block_size, blocks, free, inodes, free_inodes, kind = shell.run(
        "stat", "--file-system", f"--format={FORMAT}", "--", path, path=path
    ).stdout.split(maxsplit=5)
    space, count = shell.map(lambda unit: summed(shell, path, unit), ["--block-size=1", "--inodes"])
    return Answer(
        bytes=total(space),
        inodes=total(count),
        complete=space.exit_code == count.exit_code == 0,
        file_system=FileSystem(
            type=kind.strip(),
            size=int(blocks) * int(block_size),
            available=int(free) * int(block_size),
            inodes=int(inodes),
            inodes_available=int(free_inodes),
        ),
    )


def summed(shell: Shell, path: str, unit: str) -> Result:
    """The sum of du; a part that it could not read makes it end with 1."""
    argv = ("du", "--summarize", "--dereference-args", unit, "--", path)
    result = shell.run(*argv, path=path, check=False)
    if not result.stdout:
        raise result.path_failure(path)
    return result


def total(summed: Result) -> int:
    """The number in du's line."""
    return int(summed.stdout.split("\t", 1)[0])
