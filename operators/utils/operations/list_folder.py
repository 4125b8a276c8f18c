"""List a folder as typed entries, in pages; names may contain any characters."""

import base64
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from resop import PathFailed, RemotePath, Shell, operation

LISTING_LIMIT = 64 << 20
"""Bytes that find may print, enough for some 500,000 entries."""

# Each field follows a NUL, which no name contains, so that anything printed earlier is ignored.
# Owners as numbers, since find looks up the name again for each file (1.5 ms with LDAP).
FIND_FORMAT = "".join(f"\\0{field}" for field in ("%y", "%s", "%m", "%U", "%G", "%T@", "%f", "%l"))

EntryType = Literal[
    "file", "folder", "link", "pipe", "socket", "block_device", "char_device", "other"
]
ENTRY_TYPES: dict[bytes, EntryType] = {
    b"f": "file",
    b"d": "folder",
    b"l": "link",
    b"p": "pipe",
    b"s": "socket",
    b"b": "block_device",
    b"c": "char_device",
}


class FolderEntry(TypedDict):
    """An entry; `size` in bytes, `mode` in octal, `target`: the path a link contains.

    `owner` and `group` are ids if they have no name. For a name that is not UTF-8, `name_base64`
    has the exact bytes, and `name` a replacement for the invalid ones.
    """

    name: str
    name_base64: str | None
    type: EntryType
    size: int
    mode: str
    owner: str
    group: str
    modified: datetime | None
    target: str | None


class FolderPage(TypedDict):
    """A page of entries, and the number of entries on all pages."""

    total: int
    entries: list[FolderEntry]


class FindRecord(NamedTuple):
    """The fields that find prints for an entry."""

    kind: bytes
    size: bytes
    mode: bytes
    uid: bytes
    gid: bytes
    modified: bytes
    name: bytes
    target: bytes


SORT_KEYS = {
    "name": lambda record: record.name,
    "size": lambda record: (int(record.size), record.name),
    "modified": lambda record: (float(record.modified), record.name),
}


@operation(
    examples=[{}, {"path": "/scratch/alice", "sort": "modified", "descending": True, "limit": 20}]
)
def list_folder(
    shell: Shell,
    path: RemotePath = ".",
    hidden: Annotated[bool, Field(description="include names that begin with a dot")] = False,
    sort: Annotated[
        Literal["name", "size", "modified"],
        Field(description="order of the entries; name: by bytes"),
    ] = "name",
    descending: Annotated[bool, Field(description="reverse the order")] = False,
    offset: Annotated[int, Field(ge=0, description="number of entries to skip")] = 0,
    limit: Annotated[
        int, Field(ge=1, le=5000, description="maximum number of entries on a page")
    ] = 1000,
) -> FolderPage:
    """Return a page of the folder's entries.

    Fails with PathFailed, whose `reason` is missing, denied, not_folder or too_large.
    """
    # find has no '--'. The final slash follows a link, and makes find refuse a file.
    folder = f"{path if path.startswith('/') else f'./{path}'}/"
    tests = ("-mindepth", "1", "-maxdepth", "1", *(() if hidden else ("-not", "-name", ".*")))
    argv = ("find", folder, "-ignore_readdir_race", *tests, "-printf", FIND_FORMAT)
    result = shell.run(*argv, path=path, raw=True, max_output=LISTING_LIMIT)
    if result.truncated:
        raise PathFailed(path, "too_large", "has more entries than can be listed")
    records = sorted(parse_records(result.raw), key=SORT_KEYS[sort], reverse=descending)
    page = records[offset:][:limit]
    users = look_up_names(shell, "passwd", {each.uid.decode() for each in page})
    groups = look_up_names(shell, "group", {each.gid.decode() for each in page})
    return FolderPage(
        total=len(records), entries=[folder_entry(each, users, groups) for each in page]
    )


def parse_records(output: bytes) -> list[FindRecord]:
    """Split find's output into records."""
    fields = output.split(b"\0")[1:]
    size = len(FindRecord._fields)
    return [FindRecord(*fields[start : start + size]) for start in range(0, len(fields), size)]


def look_up_names(shell: Shell, database: str, numbers: set[str]) -> dict[str, str]:
    """Return the names of users or groups by id, if they have one."""
    if not numbers:
        return {}
    known = shell.run("getent", database, *sorted(numbers, key=int), check=False)
    fields = [line.split(":") for line in known.lines]
    return {each[2]: each[0] for each in fields if len(each) > 2}


def folder_entry(record: FindRecord, users: dict[str, str], groups: dict[str, str]) -> FolderEntry:
    """Convert a record to an entry of the answer."""
    name = record.name.decode("utf-8", "replace")
    is_exact = name.encode() == record.name
    uid, gid = record.uid.decode(), record.gid.decode()
    return FolderEntry(
        name=name,
        name_base64=None if is_exact else base64.b64encode(record.name).decode(),
        type=ENTRY_TYPES.get(record.kind, "other"),
        size=int(record.size),
        mode=record.mode.decode().zfill(4),
        owner=users.get(uid, uid),
        group=groups.get(gid, gid),
        modified=parse_time(record.modified),
        target=record.target.decode("utf-8", "replace") if record.kind == b"l" else None,
    )


def parse_time(seconds: bytes) -> datetime | None:
    """Convert seconds since 1970; None for a time outside the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (ValueError, OverflowError):
        return None
