"""`resop://` on the real service: fsspec's own tests for implementers, and what they leave out."""

from __future__ import annotations

import io
import pickle
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.tests import abstract

from resop_client import Resop, errors
from resop_client.filesystem import ResopFileSystem
from tests.acceptance.conftest import ACCOUNTS, only_embedded
from tests.support.ports import HOST
from tests.support.service import Service

pytestmark = only_embedded

FIONA = ACCOUNTS["fiona"]


@pytest.fixture(scope="module")
def resop_fs(service: Service) -> Iterator[ResopFileSystem]:
    url, token = f"http://{HOST}:{service.ports[0]}", service.log_in(FIONA).token
    with Resop(url, token) as hpc:
        fs = ResopFileSystem(url=url, token=token, skip_instance_cache=True)
        yield fs
        fs.close()
        assert hpc.core.run(command="ls -A | grep ^fsspec-", check=False).stdout == ""


@pytest.fixture
def scratch(resop_fs: ResopFileSystem) -> Iterator[str]:
    name = f"fsspec-{secrets.token_hex(4)}"
    resop_fs.mkdir(name)
    yield name
    resop_fs.rm(name, recursive=True)


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc] # fsspec has no types
    """The file system and the folder for fsspec's tests."""

    @pytest.fixture
    def fs(self, resop_fs: ResopFileSystem) -> ResopFileSystem:
        return resop_fs

    @pytest.fixture
    def fs_path(self, scratch: str) -> str:
        return scratch


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc]
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc]
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc]
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    pass


def test_entry_point_and_addresses(
    service: Service, resop_fs: ResopFileSystem, scratch: str
) -> None:
    options: Any = {"url": resop_fs.client.url, "token": resop_fs.storage_options["token"]}
    with fsspec.open(f"resop://{scratch}/a b/ü.csv", "wt", encoding="utf-8", **options) as file:
        file.write("x,y\n1,2\n")
    home = resop_fs.client.core.run(command="pwd").stdout.strip()
    for name in (f"{scratch}/a b", f"~/{scratch}/a b", f"{home}/{scratch}/a b"):
        with fsspec.open(f"resop://{name}/ü.csv", "rt", encoding="utf-8", **options) as file:
            assert file.read() == "x,y\n1,2\n"
    again = pickle.loads(pickle.dumps(resop_fs))
    assert type(again) is ResopFileSystem and again is fsspec.filesystem("resop", **options)
    assert again.ls(f"{scratch}/a b", detail=False) == [f"{scratch}/a b/ü.csv"]
    again.close()
    assert {"/etc", "/home"} <= {*resop_fs.ls("resop:///", detail=False)}
    assert scratch in resop_fs.ls("resop://", detail=False)
    assert resop_fs.isdir("") and resop_fs.isdir("/") and resop_fs.info("/etc/passwd")["size"] > 0


def test_parts_ranges_and_appending(resop_fs: ResopFileSystem, scratch: str) -> None:
    content = secrets.token_bytes(300_001)
    path = f"{scratch}/data"
    with resop_fs.open(path, "wb", block_size=100_000) as file:
        for start in range(0, len(content), 50_000):
            assert file.write(content[start : start + 50_000]) and not resop_fs.exists(path)
    assert resop_fs.cat_file(path) == content
    with resop_fs.open(path, "rb", block_size=1000) as file:
        assert file.seek(-5, io.SEEK_END) and file.read() == content[-5:]
        assert file.seek(1000) and file.read(5) == content[1000:1005]
    assert resop_fs.cat_file(path, -10, -4) == content[-10:-4]
    assert resop_fs.cat_ranges([path] * 2, [0, 7], [3, 9]) == [content[:3], content[7:9]]
    with resop_fs.open(path, "ab") as file:
        assert file.tell() == len(content)
        file.write(b"end")
    assert resop_fs.tail(path, 5) == content[-2:] + b"end"


def test_transactions_appear_together_or_not_at_all(
    resop_fs: ResopFileSystem, scratch: str
) -> None:
    with resop_fs.transaction:
        for name in "ab":
            with resop_fs.open(f"{scratch}/{name}", "wb", block_size=4) as file:
                file.write(b"0123456789")
        assert resop_fs.client.utils.ls(scratch) == ""  # the unfinished ones are hidden
    assert resop_fs.cat_file(f"{scratch}/b") == b"0123456789"
    with pytest.raises(ZeroDivisionError), resop_fs.transaction:
        with resop_fs.open(f"{scratch}/c", "wb", block_size=4) as file:
            file.write(b"0123456789")
        1 / 0  # noqa: B018
    assert resop_fs.client.utils.ls(scratch, almost_all=True).split() == ["a", "b"]


def test_faults_are_those_of_python(
    resop_fs: ResopFileSystem, scratch: str, tmp_path: Path
) -> None:
    fs = resop_fs
    fs.pipe_file(f"{scratch}/file", b"x")
    fs.makedirs(f"{scratch}/full/below")
    faults: list[tuple[type[OSError], Callable[[], object]]] = [
        (FileNotFoundError, lambda: fs.ls(f"{scratch}/none")),
        (FileNotFoundError, lambda: fs.open(f"{scratch}/none")),
        (FileNotFoundError, lambda: fs.get_file(f"{scratch}/none", tmp_path / "x")),
        (FileNotFoundError, lambda: fs.rm(f"{scratch}/none")),
        (FileNotFoundError, lambda: fs.cp_file(f"{scratch}/none", f"{scratch}/x")),
        (FileNotFoundError, lambda: fs.mv(f"{scratch}/none", f"{scratch}/x")),
        (FileNotFoundError, lambda: fs.mv(f"{scratch}/file", f"{scratch}/none/x")),
        (FileNotFoundError, lambda: fs.mkdir(f"{scratch}/none/x", create_parents=False)),
        (FileExistsError, lambda: fs.mkdir(f"{scratch}/full")),
        (FileExistsError, lambda: fs.makedirs(f"{scratch}/full")),
        (FileExistsError, lambda: fs.put_file(__file__, f"{scratch}/file", mode="create")),
        (NotADirectoryError, lambda: fs.rmdir(f"{scratch}/file")),
        (IsADirectoryError, lambda: fs.cat_file(f"{scratch}/full")),
        (IsADirectoryError, lambda: fs.rm(f"{scratch}/full")),
        (PermissionError, lambda: fs.cat_file("/etc/shadow")),
        (PermissionError, lambda: fs.pipe_file("/etc/new", b"")),
        (PermissionError, lambda: fs.mkdir("/etc/new")),
        (OSError, lambda: fs.rmdir(f"{scratch}/full")),
    ]
    for kind, call in faults:
        with pytest.raises(kind) as raised:
            call()
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "x").exists()
    assert fs.cat_file(f"{scratch}/file") == b"x" and fs.isdir(f"{scratch}/full/below")
    unreachable = ResopFileSystem(url="http://127.0.0.1:1", token="t")
    with pytest.raises(errors.ConnectionFailed):
        unreachable.exists("x")
    unreachable.close()


def test_links_moves_and_unusual_names(resop_fs: ResopFileSystem, scratch: str) -> None:
    fs, name = resop_fs, f"{scratch}/-r *?[a] $(x)\n"
    fs.pipe_file(name, b"1")
    assert fs.ls(scratch, detail=False) == [name] and fs.cat_file(name) == b"1"
    fs.mv(name, f"{scratch}/plain")
    fs.mkdir(f"{scratch}/below")
    fs.client.core.run(command=f"ln -s . {scratch}/loop; ln -s plain {scratch}/link")
    kinds = {each["name"].rpartition("/")[2]: each["type"] for each in fs.ls(scratch)}
    assert kinds == {"below": "directory", "loop": "link", "link": "link", "plain": "file"}
    assert fs.info(f"{scratch}/link")["size"] == 1 and fs.isdir(f"{scratch}/loop")
    assert len(fs.find(scratch)) == 3  # and no endless loop
    fs.mv(f"{scratch}/plain", f"{scratch}/below")
    assert fs.find(f"{scratch}/below") == [f"{scratch}/below/plain"]
    assert fs.modified(f"{scratch}/below/plain").year >= 2024
    fs.rm(f"{scratch}/loop", recursive=True)
    assert fs.exists(f"{scratch}/below/plain") and not fs.exists(f"{scratch}/link")
