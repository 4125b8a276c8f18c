"""Files and folders of the cluster: list, print, remove, move, measure."""

from __future__ import annotations

import posixpath
import sys
from typing import Any

import click

from resop_client import errors
from resop_client.cli import human
from resop_client.cli.columns import Column
from resop_client.cli.command import Command
from resop_client.cli.commands.cluster import given
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.remote_folder import entries
from resop_client.cli.running import ask, run

REMOTE = ":"
CHUNK = 8 << 20
_LETTERS = {"file": "-", "folder": "d", "link": "l"}
COLUMNS = (
    Column("MODE", lambda row: f"{_LETTERS.get(row['type'], '?')}{row['mode']}"),
    Column("OWNER", "owner"),
    Column("SIZE", "size", human.size, right=True),
    Column("MODIFIED", "modified", human.moment),
    Column("NAME", lambda row: _name(row["name"], row["type"], row["target"])),
)
QUOTA_COLUMNS = (
    Column("FILE SYSTEM", "file_system"),
    Column("OF", lambda row: f"{row['kind']} {row['name']}"),
    Column("USED", lambda row: human.size(row["space"]["used"]), right=True),
    Column("LIMIT", lambda row: human.size(row["space"]["soft"]), right=True),
    Column("HARD LIMIT", lambda row: human.size(row["space"]["hard"]), right=True),
    Column("FILES", lambda row: row["files"]["used"], right=True),
    Column("FILE LIMIT", lambda row: row["files"]["soft"], right=True),
)
_paths = click.argument("paths", nargs=-1, required=True, metavar="PATH...")


def _name(name: str, kind: str, target: str | None) -> str:
    if kind == "folder":
        return f"{name}/"
    return f"{name} -> {target}" if target else name


def remote(path: str) -> str:
    """Return a path on the cluster; the ':' that `resop cp` needs may precede it."""
    return path.removeprefix(REMOTE) or "."


@click.command(cls=Command)
@click.argument("path", default=".")
@click.option("-a", "--all", "hidden", is_flag=True, help="Include names that begin with a dot.")
@click.option("-t", "by_time", is_flag=True, help="Newest first.")
@click.option("-S", "by_size", is_flag=True, help="Largest first.")
@click.option("-r", "--reverse", is_flag=True, help="Reverse the order.")
@pass_invocation
def ls(
    invocation: Invocation, path: str, hidden: bool, by_time: bool, by_size: bool, reverse: bool
) -> None:
    """List a folder of the cluster, or a file; without PATH, the home folder."""
    sort = "modified" if by_time else "size" if by_size else "name"
    options = {
        "path": remote(path),
        "hidden": hidden,
        "sort": sort,
        "descending": reverse != (by_time or by_size),
        "limit": 5000,
    }
    try:
        page = ask(invocation, "/utils/opn/list_folder", options)
    except errors.PathFailed as fault:
        if fault.reason != "not_folder":
            raise
        invocation.show([_file_entry(invocation, remote(path))], COLUMNS)
        return
    invocation.show(page["entries"], COLUMNS)
    if page["total"] > len(page["entries"]):
        invocation.note(f"({len(page['entries'])} of {page['total']} entries)")


def _file_entry(invocation: Invocation, path: str) -> dict[str, Any]:
    """Return the entry of a file, from the folder that it is in."""
    folder, name = posixpath.split(path)
    for entry in entries(invocation, folder or "."):
        if entry["name"] == name:
            return {**entry, "name": path}
    raise click.ClickException(f"{path}: there is no such file or folder")


@click.command(cls=Command)
@_paths
@pass_invocation
def cat(invocation: Invocation, paths: tuple[str, ...]) -> None:
    """Print files of the cluster, byte by byte as they are."""
    sys.stdout.flush()
    for path in paths:
        start = 0
        while content := invocation.hpc.files.read(remote(path), start, start + CHUNK):
            sys.stdout.buffer.write(content)
            start += len(content)
            if len(content) < CHUNK:
                break
        sys.stdout.buffer.flush()


@click.command(cls=Command)
@_paths
@click.option("-n", "--lines", type=int, default=10, help="Number of lines (default: 10).")
@pass_invocation
def head(invocation: Invocation, paths: tuple[str, ...], lines: int) -> None:
    """Print the beginning of files of the cluster."""
    options = {"lines": lines, "input": [remote(each) for each in paths]}
    invocation.show(ask(invocation, "/utils/cmd/head", options))


@click.command(cls=Command)
@_paths
@click.option("-r", "--recursive", is_flag=True, help="Remove folders and their contents.")
@click.option("-f", "--force", is_flag=True, help="Do not ask, nor fail for missing files.")
@pass_invocation
def rm(invocation: Invocation, paths: tuple[str, ...], recursive: bool, force: bool) -> None:
    """Remove files of the cluster permanently; on a terminal, folders only after a question."""
    names = [remote(each) for each in paths]
    if recursive and not force and sys.stdin.isatty():
        question = f"Remove {', '.join(names)} and everything below?"
        click.confirm(question, abort=True, err=True)
    options = given(recursive=recursive, force=force)
    run(invocation, "/utils/cmd/rm", {**options, "input": names})


@click.command(cls=Command)
@_paths
@click.option("-p", "--parents", is_flag=True, help="Make the folders above, too.")
@click.option("-m", "--mode", metavar="MODE", help="Permissions: 0750, u=rwx,g=rx.")
@pass_invocation
def mkdir(invocation: Invocation, paths: tuple[str, ...], parents: bool, mode: str | None) -> None:
    """Create folders on the cluster."""
    names = [remote(each) for each in paths]
    run(invocation, "/utils/cmd/mkdir", {**given(parents=parents, mode=mode), "input": names})


@click.command(cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.argument("target", metavar="DST")
@click.option("-n", "--no-clobber", is_flag=True, help="Do not replace files.")
@pass_invocation
def mv(invocation: Invocation, sources: tuple[str, ...], target: str, no_clobber: bool) -> None:
    """Move or rename files and folders of the cluster."""
    names = [remote(each) for each in (*sources, target)]
    run(invocation, "/utils/cmd/mv", {**given(no_clobber=no_clobber), "input": names})


@click.command(cls=Command)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@pass_invocation
def du(invocation: Invocation, paths: tuple[str, ...]) -> None:
    """Show the disk space of files and folders of the cluster; without PATH, the home folder."""
    rows = []
    for path in paths or (".",):
        found = ask(invocation, "/utils/opn/disk_usage", {"path": remote(path)})
        rows.append({"path": remote(path), **found})
    columns = (
        Column("SIZE", "bytes", human.size, right=True),
        Column("FILES", "inodes", right=True),
        Column("PATH", "path"),
        Column("FREE", lambda row: human.size(row["file_system"]["available"]), right=True),
        Column("OF", lambda row: human.size(row["file_system"]["size"]), right=True),
    )
    invocation.show(rows, columns)
    if not all(each["complete"] for each in rows):
        invocation.note("(a part could not be read, and is not counted)")


@click.command(cls=Command)
@pass_invocation
def quota(invocation: Invocation) -> None:
    """Show your quotas and those of your groups: space and files, used and allowed."""
    invocation.show(ask(invocation, "/utils/opn/quota"), QUOTA_COLUMNS)
