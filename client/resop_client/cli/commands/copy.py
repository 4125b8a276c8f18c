"""Copy files and folders between this machine and the cluster."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from resop_client import errors
from resop_client.cli.command import Command
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.remote_folder import entries
from resop_client.cli.running import run

REMOTE = ":"
MAX_ARGUMENTS = 500


class Transfer(NamedTuple):
    """One file, or one empty folder: from where to where."""

    source: str
    target: str
    upload: bool
    is_folder: bool = False


@click.command(cls=Command)
@click.argument("sources", nargs=-1, required=True, type=click.Path(), metavar="SRC...")
@click.argument("target", type=click.Path(), metavar="DST")
@click.option("-r", "--recursive", is_flag=True, help="Copy folders with everything below them.")
@click.option("-n", "--no-clobber", is_flag=True, help="Do not replace files.")
@click.option("-p", "--parents", is_flag=True, help="Make the missing folders above DST.")
@click.option(
    "--checksum",
    is_flag=True,
    help="After a download, compare a SHA-256 of the file there.",
)
@pass_invocation
def cp(
    invocation: Invocation,
    sources: tuple[str, ...],
    target: str,
    recursive: bool,
    no_clobber: bool,
    parents: bool,
    checksum: bool,
) -> None:
    """Copy files; a path with ':' before it is on the cluster.

    What has arrived is not sent again, also in another run after a cut. Each part of an upload is
    checked by its digest, and a file appears complete or not at all.

    \b
    Examples:
      resop cp data.nc :run7/
      resop cp -r :run7 .
      resop cp :/scratch/ada/out-*.csv results/     # quote it: ':/scratch/…'
    """
    remote = [each.startswith(REMOTE) for each in (*sources, target)]
    if not any(remote):
        raise click.UsageError("no path is on the cluster: write ':' before it, as in :run7/a.nc")
    if all(remote):
        _copy_there(invocation, sources, target, recursive=recursive, no_clobber=no_clobber)
        return
    if any(remote[:-1]):
        if not all(remote[:-1]):
            raise click.UsageError("the sources are on both sides: copy them one by one")
        transfers = list(_downloads(invocation, sources, target, recursive=recursive))
    else:
        transfers = list(_uploads(invocation, sources, target, recursive=recursive))
    if no_clobber and not all(each.upload for each in transfers):
        transfers = [each for each in transfers if not Path(each.target).exists()]
    _make_folders(invocation, [each for each in transfers if each.is_folder])
    transfers = [each for each in transfers if not each.is_folder]
    for number, each in enumerate(transfers, 1):
        label = posixpath.basename(each.source.rstrip("/")) or each.source
        if len(transfers) > 1:
            label = f"[{number}/{len(transfers)}] {label}"
        _transfer(
            invocation,
            each,
            label,
            overwrite=not no_clobber,
            parents=parents or recursive,
            checksum=checksum,
        )


def _make_folders(invocation: Invocation, folders: Sequence[Transfer]) -> None:
    """Make the folders that are empty; the others are made for their files."""
    there = [each.target for each in folders if each.upload]
    for start in range(0, len(there), MAX_ARGUMENTS):
        options = {"parents": True, "input": there[start : start + MAX_ARGUMENTS]}
        run(invocation, "/utils/cmd/mkdir", options)
    for each in folders:
        if not each.upload:
            Path(each.target).mkdir(parents=True, exist_ok=True)


def _transfer(
    invocation: Invocation,
    each: Transfer,
    label: str,
    *,
    overwrite: bool,
    parents: bool,
    checksum: bool,
) -> None:
    files = invocation.hpc.files
    with invocation.bar(label, size=True) as bar:
        if each.upload:
            try:
                files.upload(
                    each.source, each.target, overwrite=overwrite, parents=parents, progress=bar
                )
            except errors.PathFailed as fault:
                if overwrite or fault.reason != "exists":
                    raise
        else:
            Path(each.target).parent.mkdir(parents=True, exist_ok=True)
            files.download(each.source, each.target, checksum=checksum, progress=bar)


def _copy_there(
    invocation: Invocation,
    sources: tuple[str, ...],
    target: str,
    *,
    recursive: bool,
    no_clobber: bool,
) -> None:
    """Copy on the cluster itself."""
    paths = [each.removeprefix(REMOTE) or "." for each in (*sources, target)]
    options = {"input": paths, "recursive": recursive, "no_clobber": no_clobber}
    run(invocation, "/utils/cmd/cp", {name: each for name, each in options.items() if each})


def _uploads(
    invocation: Invocation, sources: tuple[str, ...], target: str, *, recursive: bool
) -> Iterator[Transfer]:
    """Yield the transfers to the cluster."""
    folder = target.removeprefix(REMOTE) or "."
    into = len(sources) > 1 or folder.endswith("/") or _is_remote_folder(invocation, folder)
    for source in sources:
        local = Path(source)
        place = posixpath.join(folder, local.resolve().name) if into else folder
        if not local.is_dir():
            yield Transfer(source, place, upload=True)
            continue
        if not recursive:
            raise click.UsageError(f"{source} is a folder: add -r")
        for found in [local, *sorted(local.rglob("*"))]:
            is_folder = found.is_dir() and not any(found.iterdir())
            if is_folder or found.is_file():
                below = found.relative_to(local).as_posix()
                there = posixpath.normpath(posixpath.join(place, below))
                yield Transfer(str(found), there, upload=True, is_folder=is_folder)


def _is_remote_folder(invocation: Invocation, path: str) -> bool:
    if path in (".", "~", "/"):
        return True
    try:
        invocation.hpc.files.stat(path)
    except errors.PathFailed as fault:
        return fault.reason == "is_folder"
    return False


def _downloads(
    invocation: Invocation, sources: tuple[str, ...], target: str, *, recursive: bool
) -> Iterator[Transfer]:
    """Yield the transfers from the cluster."""
    local = Path(target)
    into = len(sources) > 1 or target.endswith("/") or local.is_dir()
    for source in sources:
        path = source.removeprefix(REMOTE) or "."
        name = posixpath.basename(path.rstrip("/")) or "home"
        if _has_wildcard(name):
            folder = posixpath.dirname(path) or "."
            for found in _matching(invocation, folder, name):
                yield Transfer(posixpath.join(folder, found), str(local / found), upload=False)
            continue
        place = local / name if into else local
        if not _is_remote_folder(invocation, path):
            yield Transfer(path, str(place), upload=False)
            continue
        if not recursive:
            raise click.UsageError(f":{path} is a folder: add -r")
        for below, is_folder in _found_below(invocation, path):
            there = posixpath.join(path, below)
            yield Transfer(there, str(place / below), upload=False, is_folder=is_folder)


def _has_wildcard(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _matching(invocation: Invocation, folder: str, pattern: str) -> list[str]:
    import fnmatch

    found = [
        each.name
        for each in entries(invocation, folder)
        if each.type == "file" and fnmatch.fnmatchcase(each.name, pattern)
    ]
    if not found:
        raise click.UsageError(f":{posixpath.join(folder, pattern)} matches no file")
    return sorted(found)


def _found_below(invocation: Invocation, folder: str) -> Iterator[tuple[str, bool]]:
    """Yield the paths below a folder of files, and of empty folders, which are marked by True."""
    found = [(each.name, each.type) for each in entries(invocation, folder)]
    if not found:
        yield "", True
    for name, kind in found:
        if kind == "file":
            yield name, False
        elif kind == "folder":
            for below, is_folder in _found_below(invocation, posixpath.join(folder, name)):
                yield posixpath.join(name, below), is_folder
