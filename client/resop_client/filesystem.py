"""The files of the cluster for fsspec: `pandas.read_csv("resop://run7/a.csv")`.

`resop://run7/a.csv` is in the home folder, `resop:///scratch/ada/a.csv` is absolute. Needs fsspec.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike, stringify_path

from resop_client._sync.client import Resop
from resop_client._sync.part_upload import PartUpload
from resop_client.buffered_file import ResopFile
from resop_client.os_errors import os_errors
from resop_client.record import Record

PROTOCOL = "resop"
PAGE_SIZE = 5000
"""Entries of a folder per request: as many as the service returns."""
MAX_ARGUMENTS = 500
"""Paths per call of rm."""
TYPES = {"folder": "directory", "file": "file", "link": "link"}


class ResopFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """The files of the cluster; a path is absolute, or relative to the home folder.

    Folders that a new file needs are made. A link in a folder has the type `link`, and nothing
    follows it by itself; named by its own path it is what it leads to.
    """

    protocol = PROTOCOL
    root_marker = ""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        profile: str | None = None,
        **storage_options: Any,
    ) -> None:
        """Use the stored login of a profile, that of the environment, or the given one."""
        super().__init__(url=url, token=token, profile=profile, **storage_options)
        self.client = Resop(url, token, profile=profile)
        """The client whose login is used."""

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """Return a path without its protocol, and without a slash at its end."""
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        plain: str = stringify_path(path)
        for separator in ("://", "::"):
            plain = plain.removeprefix(PROTOCOL + separator)
        return plain.rstrip("/") or plain[:1]  # "/" is the root folder, "" the home folder

    @classmethod
    def _parent(cls, path: str) -> str:
        parent: str = posixpath.dirname(cls._strip_protocol(path))
        return parent

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Return name, size, type, mtime and mode of a file or folder."""
        path = self._strip_protocol(path)
        try:
            with os_errors(path):
                found = self.client.files.stat(_file_path(path))
        except IsADirectoryError:
            return {"name": path, "size": 0, "type": "directory"}
        return {
            "name": path,
            "size": found.size,
            "type": "file",
            "mtime": int(found.modified),
            "mode": found.mode,
        }

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Return True if there is such a file or folder; a fault of the network is raised."""
        try:
            self.info(path)
        except OSError:
            return False
        return True

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Return what a folder contains, by name; of a file, the file itself."""
        path = self._strip_protocol(path)
        try:
            with os_errors(path):
                entries = [_entry(path, each) for each in self._list_folder(path)]
        except NotADirectoryError:
            entries = [self.info(path)]
        return entries if detail else [each["name"] for each in entries]

    def _list_folder(self, path: str) -> Iterator[Record]:
        offset, total = 0, 1
        while offset < total:
            page = self.client.run(
                "utils.list_folder",
                path=_command_path(path),
                hidden=True,
                offset=offset,
                limit=PAGE_SIZE,
            )
            yield from page.entries
            offset, total = offset + PAGE_SIZE, page.total

    def modified(self, path: str) -> datetime:
        """Return the time of the last change of a file."""
        return datetime.fromtimestamp(self.info(path)["mtime"], UTC)

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Make a folder. Raises FileExistsError."""
        path = self._strip_protocol(path)
        if create_parents:
            self.makedirs(self._parent(path), exist_ok=True)
        self._run("utils.mkdir", path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Make a folder and those above it."""
        path = self._strip_protocol(path)
        if not exist_ok:
            self.mkdir(path)
        elif path not in ("", "/", "~"):
            self._run("utils.mkdir", path, parents=True)

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        path = self._strip_protocol(path)
        with os_errors(path):
            self.client.run("utils.rm", f"{_command_path(path)}/", dir=True)

    def rm_file(self, path: str) -> None:
        """Remove a file; of a link, the link."""
        path = self._strip_protocol(path)
        with os_errors(path):
            self.client.files.remove(_file_path(path))

    def _rm(self, path: str) -> None:
        self.rm_file(path)

    def rm(
        self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None
    ) -> None:
        """Remove files, and folders with all that they contain if `recursive`."""
        if maxdepth is not None:
            super().rm(path, recursive=recursive, maxdepth=maxdepth)
            return
        paths = self.expand_path(path, recursive=False)[::-1]  # what a folder contains before it
        for start in range(0, len(paths), MAX_ARGUMENTS):
            self._run("utils.rm", *paths[start : start + MAX_ARGUMENTS], recursive=recursive)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy a file on the cluster; of a folder, make a new one of that name."""
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        if self.info(source)["type"] == "directory":
            self.makedirs(target, exist_ok=True)
            return
        try:
            self._copy(source, target)  # if something is missing, it is the target's folder
        except FileNotFoundError:
            self.makedirs(self._parent(target), exist_ok=True)
            self._copy(source, target)

    def _copy(self, source: str, target: str) -> None:
        with os_errors(target):
            self.client.run(
                "core.copy",
                path=_command_path(source),
                to=_command_path(target),
                overwrite=True,
            )

    def mv(
        self,
        path1: str | list[str],
        path2: str,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Move files or folders, as mv(1) does: into a folder, or to another name."""
        target = self._strip_protocol(path2)
        given = [path1] if isinstance(path1, str) else path1
        sources = [each for each in self._strip_protocol(given) if each != target]
        if sources:
            self._run("utils.mv", *sources, target)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """Return a file or a part of it; negative numbers count from its end."""
        path = self._strip_protocol(path)
        if min(start or 0, end or 0) < 0:
            start, end, _ = slice(start, end).indices(self.info(path)["size"])
        with os_errors(path):
            return self.client.files.read(_file_path(path), start or 0, end)

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a file; with the mode `create`, only if there is none."""
        path = self._strip_protocol(path)
        with os_errors(path):
            self.client.files.write(
                _file_path(path), bytes(value), parents=True, overwrite=mode != "create"
            )

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Write an empty file; without `truncate`, only if there is none."""
        if truncate or not self.exists(path):
            self.pipe_file(path, b"")

    def get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **kwargs: Any,
    ) -> None:
        """Download a file: resumed after a cut connection, complete or not at all."""
        path = self._strip_protocol(rpath)
        if outfile is not None or isfilelike(lpath):
            super().get_file(path, lpath, callback=callback, outfile=outfile, **kwargs)
            return
        target = Path(lpath)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os_errors(path):
                self.client.files.download(_file_path(path), target, progress=_show(callback))
        except IsADirectoryError:
            target.mkdir(exist_ok=True)

    def put_file(
        self,
        lpath: Any,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        """Upload a file: resumed after a cut connection, complete or not at all."""
        path, source = self._strip_protocol(rpath), Path(lpath)
        if source.is_dir():
            self.makedirs(path, exist_ok=True)
            return
        with os_errors(path):
            self.client.files.upload(
                source,
                _file_path(path),
                parents=True,
                overwrite=mode != "create",
                progress=_show(callback),
            )

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> ResopFile:
        if mode == "xb" and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        return ResopFile(
            self, path, mode, block_size, autocommit, cache_options=cache_options, **kwargs
        )

    def start_upload(self, path: str, *, overwrite: bool) -> PartUpload:
        """Return an upload of a file in parts."""
        return self.client.files.in_parts(_file_path(path), parents=True, overwrite=overwrite)

    def _run(self, command: str, *paths: str, **options: Any) -> None:
        """Run mkdir, mv or rm."""
        arguments: Sequence[str] = [_command_path(each) for each in paths]
        with os_errors(paths[-1]):
            self.client.run(command, *arguments, **options)


def _file_path(path: str) -> str:
    """Return a path as /files takes it: `~/` distinguishes it from one in the root folder."""
    return path if path.startswith(("/", "~/")) or path == "~" else f"~/{path}"


def _command_path(path: str) -> str:
    """Return a path as commands take it: they start in the home folder, and `~` is no name."""
    if path.startswith("/"):
        return path
    return f"./{'' if path == '~' else path.removeprefix('~/')}"


def _entry(folder: str, found: Record) -> dict[str, Any]:
    """Return an entry of a folder as fsspec describes it."""
    kind = TYPES.get(found.type, "other")
    entry = {"name": posixpath.join(folder, found.name), "size": found.size, "type": kind}
    if kind == "directory":
        return {**entry, "size": 0}
    if found.modified is not None:
        entry["mtime"] = int(datetime.fromisoformat(found.modified).timestamp())
    entry["mode"] = found.mode
    if kind == "link":
        entry["destination"] = found.target
    return entry


def _show(callback: Any) -> Any:
    """Return what tells a callback of fsspec how much has been transferred."""

    def show(done: float, total: float) -> None:
        callback.set_size(int(total))
        callback.absolute_update(int(done))

    return show
