"""List a folder as typed entries, page by page, whatever the names in it contain."""

import base64
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from resop import PathFailed, RemotePath, Shell, operation

LISTING_LIMIT = 64 << 20
"""Bytes that find may print: some 500,000 entries."""

# Each field stands behind a NUL, which no name contains, so that nothing printed before matters.
# Owners as numbers: find asks the directory for the name of each anew, 1.5 ms from LDAP.
FORMAT = "".join(f"\\0{field}" for field in ("%y", "%s", "%m", "%U", "%G", "%T@", "%f", "%l"))

Kind = Literal["file", "folder", "link", "pipe", "socket", "block_device", "char_device", "other"]
KINDS: dict[bytes, Kind] = {
    b"f": "file",
    b"d": "folder",
    b"l": "link",
    b"p": "pipe",
    b"s": "socket",
    b"b": "block_device",
    b"c": "char_device",
}


class Entry(TypedDict):
    """One entry; `size` in bytes, `mode` in octal, `target` where a link points to.

    `owner` and `group` are the numbers where these have no name.
    `name_base64` has the exact bytes of a name that is not UTF-8; in `name` they are replaced.
    """

    name: str
    name_base64: str | None
    type: Kind
    size: int
    mode: str
    owner: str
    group: str
    modified: datetime | None
    target: str | None


class Answer(TypedDict):
    """A page of the entries, and how many there are in all."""

    total: int
    entries: list[Entry]


class Found(NamedTuple):
    """An entry as find prints it."""

    kind: bytes
    size: bytes
    mode: bytes
    uid: bytes
    gid: bytes
    modified: bytes
    name: bytes
    target: bytes


ORDER = {
    "name": lambda found: found.name,
    "size": lambda found: (int(found.size), found.name),
    "modified": lambda found: (float(found.modified), found.name),
}


@operation(
    examples=[{}, {"path": "/scratch/alice", "sort": "modified", "descending": True, "limit": 20}]
)
def list_folder(
    shell: Shell,
    path: RemotePath = ".",
    hidden: Annotated[bool, Field(description="also names that begin with a dot")] = False,
    sort: Annotated[
        Literal["name", "size", "modified"], Field(description="by names, byte by byte, or else")
    ] = "name",
    descending: Annotated[bool, Field(description="the last ones first")] = False,
    offset: Annotated[int, Field(ge=0, description="entries to leave out at first")] = 0,
    limit: Annotated[int, Field(ge=1, le=5000, description="entries on a page")] = 1000,
) -> Answer:
    """Return a page of what is in the folder.

    Fails with PathFailed, whose `reason` is missing, denied, not_folder or too_large.
    """
    # find takes no '--'. The slash at the end follows a link, and tells that a file is no folder.
    place = f"{path if path.startswith('/') else f'./{path}'}/"
    tests = ("-mindepth", "1", "-maxdepth", "1", *(() if hidden else ("-not", "-name", ".*")))
    argv = ("find", place, "-ignore_readdir_race", *tests, "-printf", FORMAT)
    printed = shell.run(*argv, path=path, raw=True, max_output=LISTING_LIMIT)
    if printed.truncated:
        raise PathFailed(path, "too_large", "has more entries than can be listed")
    found = sorted(entries(printed.raw), key=ORDER[sort], reverse=descending)
    page = found[offset:][:limit]
    users = names(shell, "passwd", {each.uid.decode() for each in page})
    groups = names(shell, "group", {each.gid.decode() for each in page})
    return Answer(total=len(found), entries=[shown(each, users, groups) for each in page])


def entries(printed: bytes) -> list[Found]:
    """What find has printed, entry by entry."""
    fields = printed.split(b"\0")[1:]
    size = len(Found._fields)
    return [Found(*fields[start : start + size]) for start in range(0, len(fields), size)]


def names(shell: Shell, database: str, numbers: set[str]) -> dict[str, str]:
    """The names of users or groups by their numbers, as far as they have one."""
    if not numbers:
        return {}
    known = shell.run("getent", database, *sorted(numbers, key=int), check=False)
    fields = [line.split(":") for line in known.lines]
    return {each[2]: each[0] for each in fields if len(each) > 2}


def shown(found: Found, users: dict[str, str], groups: dict[str, str]) -> Entry:
    """An entry as it is answered."""
    name = found.name.decode("utf-8", "replace")
    exact = name.encode() == found.name
    uid, gid = found.uid.decode(), found.gid.decode()
    return Entry(
        name=name,
        name_base64=None if exact else base64.b64encode(found.name).decode(),
        type=KINDS.get(found.kind, "other"),
        size=int(found.size),
        mode=found.mode.decode().zfill(4),
        owner=users.get(uid, uid),
        group=groups.get(gid, gid),
        modified=moment(found.modified),
        target=found.target.decode("utf-8", "replace") if found.kind == b"l" else None,
    )


def moment(seconds: bytes) -> datetime | None:
    """Seconds since 1970 as a time; None for one that no calendar of ours has."""
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (ValueError, OverflowError):
        return None
