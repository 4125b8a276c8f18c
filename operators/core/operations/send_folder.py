"""Write a folder on the cluster from a tar archive: complete under its name, or not at all."""

import base64
import posixpath
import re
import textwrap
from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from operators.core.content import decoded
from resop import InvalidOptions, PathFailed, RemotePath, Shell, operation

# A line of `tar --list --verbose --quoting-style=c`: type and mode, owner, size, day, time, name.
QUOTED = r'"((?:[^"\\]|\\.)*)"'
LISTED = re.compile(rf"(.)\S+ +\S+ +(\d+) +\S+ +\S+ +{QUOTED}(?: (?:->|link to) {QUOTED})?")

EMPTY = base64.b64encode(bytes(1024)).decode()
"""An archive that holds nothing: two blocks of zeros."""


class Answer(TypedDict):
    """How many files the folder got, links among them, and the bytes they hold."""

    files: int
    bytes: int


class Member(NamedTuple):
    """A member of an archive as tar lists it; special characters in names are escaped."""

    kind: str
    size: int
    name: str
    target: str


@operation(examples=[{"path": "run7/plots", "content": EMPTY}])
def send_folder(
    shell: Shell,
    path: RemotePath,
    content: Annotated[str, Field(description="a tar archive, not compressed, in base64")],
    merge: Annotated[
        bool, Field(description="unpack into the folder that is there, replacing its files")
    ] = False,
) -> Answer:
    """Return what the folder got.

    The archive holds files, folders and links: a device, a name that leads out of the folder or
    through a link is refused (422) before anything is unpacked. Fails with PathFailed, whose
    `reason` is missing (where it shall stand), denied, exists (unless `merge`), full, …
    """
    archive = decoded(content, "base64")
    members = checked(shell, archive)
    if merge:
        unpack(shell, archive, path, path)
    else:
        make(shell, archive, path)
    files = [member for member in members if member.kind != "d"]
    return Answer(files=len(files), bytes=sum(member.size for member in files))


def checked(shell: Shell, archive: bytes) -> list[Member]:
    """The members; InvalidOptions names the first that is refused.

    Listed by the tar that unpacks it, as two of them may disagree about a hostile archive.
    """
    form = ("--verbose", "--numeric-owner", "--quoting-style=c", "--absolute-names")
    argv = ("tar", "--list", *form, "--file=-")
    listed = shell.run(*argv, input=archive, max_output=1 << 24, check=False)
    if listed.exit_code != 0 or listed.truncated:
        raise refused(f"is not read by tar: {textwrap.shorten(listed.stderr, 200)}")
    members = [read_member(line) for line in listed.lines]
    for fault in faults(members):
        raise refused(fault)
    return members


def read_member(line: str) -> Member:
    """A line of the list; InvalidOptions for what is neither file, folder nor link."""
    found = LISTED.fullmatch(line)
    if found is None or found[1] not in "-dlh":
        raise refused(f"holds what is neither file, folder nor link: {line}")
    return Member(found[1], int(found[2]), found[3], found[4] or "")


def faults(members: list[Member]) -> Iterator[str]:
    """What is wrong with names: each leads to somewhere in the folder, and not through a link.

    A hard link may be one to a symbolic link.
    """
    no_folders = {parts(member.name) for member in members if member.kind != "d"}
    for member in members:
        for name in (member.name, member.target) if member.kind == "h" else (member.name,):
            way = parts(name)
            if name.startswith("/") or ".." in way:
                yield f"leads out of the folder: {name}"
            if any(way[:length] in no_folders for length in range(1, len(way))):
                yield f"leads through a link or a file: {name}"


def parts(name: str) -> tuple[str, ...]:
    """The names that a path is made of."""
    return tuple(part for part in name.split("/") if part not in ("", "."))


def refused(fault: str) -> InvalidOptions:
    """The error for an archive that is not unpacked."""
    return InvalidOptions([{"field": "content", "message": fault}])


def make(shell: Shell, archive: bytes, path: str) -> None:
    """Unpack beside the place, then rename; a folder with something in it is never replaced."""
    place = path.rstrip("/") or path
    if shell.run("stat", "--printf=", "--", place, check=False).exit_code == 0:
        raise PathFailed(path, "exists")
    template = posixpath.join(posixpath.dirname(place), ".XXXXXXXX")
    made = shell.run("mktemp", "--directory", "--suffix=.part", "--", template, about=path)
    beside = made.stdout.removesuffix("\n")
    shell.on_failure("rm", "--recursive", "--force", "--", beside)
    unpack(shell, archive, beside, path)
    shell.run("mv", "--no-target-directory", "--", beside, place, about=path)


def unpack(shell: Shell, archive: bytes, folder: str, path: str) -> None:
    """Unpack into a folder; an error is about `path`."""
    argv = ("tar", "--extract", "--preserve-permissions", "--file=-", f"--directory={folder}")
    unpacked = shell.run(*argv, input=archive, about=path, check=False)
    if "Wrote only" in unpacked.stderr:  # tar's words for what write(2) says of a full disk
        raise PathFailed(path, "full")
    if unpacked.exit_code != 0:
        raise unpacked.path_failure(path)
