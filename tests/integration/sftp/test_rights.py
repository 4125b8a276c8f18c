"""Replacing a file keeps its owner, group, permissions, ACL and extended attributes."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncssh
import pytest
import pytest_asyncio

from resop.errors import PathFailed
from resop.sftp.copy import copy
from resop.sftp.files import write_file
from resop.sftp.folders import write_folder
from resop.ssh.session import Session
from tests.support.acl import acl_of, reason_without_acl, set_acl
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

ALICE = Account("alice", "alice's password")
BOB = Account("bob", "bob's password")
NEW = b"the new content"

Write = Callable[[asyncssh.SFTPClient, Session, Path], Awaitable[object]]


def remote(path: Path) -> str:
    """Return the path on the login node of something in the home folder or a folder in it."""
    return "/".join(path.parts[path.parts.index("home") + 2 :])


async def _send_file(sftp: asyncssh.SFTPClient, session: Session, file: Path) -> None:
    await write_file(sftp, session, NEW, remote(file), None, overwrite=True)


async def _copy_file(sftp: asyncssh.SFTPClient, session: Session, file: Path) -> None:
    source = f"{remote(file.parent)}.source"
    await write_file(sftp, session, NEW, source, 0o666, overwrite=True)
    await copy(sftp, session, source, remote(file), True, lambda *_: None)


async def _merge_archive(sftp: asyncssh.SFTPClient, session: Session, file: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(file.name)
        entry.size, entry.mode = len(NEW), 0o666
        tar.addfile(entry, io.BytesIO(NEW))
    await write_folder(sftp, session, archive.getvalue(), remote(file.parent), merge=True)


async def _merge_copy(sftp: asyncssh.SFTPClient, session: Session, file: Path) -> None:
    source = f"{remote(file.parent)}.source"
    await sftp.mkdir(source)
    await write_file(sftp, session, NEW, f"{source}/{file.name}", 0o666, overwrite=True)
    await copy(sftp, session, source, remote(file.parent), True, lambda *_: None)


WRITES = {
    "send_file": _send_file,
    "copy of a file": _copy_file,
    "archive": _merge_archive,
    "copy of a folder": _merge_copy,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("rights"), [ALICE, BOB]) as running:
        need(reason_without_acl(running.home(ALICE.name)))
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sftp(server: OpenSSH) -> AsyncIterator[asyncssh.SFTPClient]:
    async with (
        await server.login(ALICE.name) as connection,
        connection.start_sftp_client() as client,
    ):
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(server: OpenSSH) -> AsyncIterator[Session]:
    """Yield a session whose steps have channels of their own, as in the API."""
    session = Session(lambda: server.login(ALICE.name), runner=False)
    yield session
    await session.close()


@pytest.fixture
def file(server: OpenSSH, request: pytest.FixtureRequest) -> Path:
    """Return a new file of Alice's in a folder of her own."""
    folder = server.home(ALICE.name) / f"folder of {abs(hash(request.node.name))}"
    folder.mkdir()
    file = folder / "a file\\with 'odd' $name"
    file.write_text("the old content, which is longer than the new one")
    file.chmod(0o600)
    for path in (folder, file):
        os.chown(path, server.uid(ALICE.name), server.uid(ALICE.name))
    return file


def give(file: Path, uid: int, gid: int, mode: int) -> None:
    os.chown(file, uid, gid)
    file.chmod(mode)


def content_of(file: Path) -> bytes:
    return file.read_bytes()


def inode_of(file: Path) -> int:
    """Return what tells a replaced file from one that was written in place."""
    return file.stat().st_ino


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def names_beside(file: Path) -> list[str]:
    return [path.name for path in file.parent.iterdir()]


def described(file: Path) -> tuple[int, int, str, dict[str, bytes]]:
    status = file.stat()
    attributes = {name: os.getxattr(file, name) for name in os.listxattr(file)}
    return status.st_uid, status.st_gid, acl_of(file), attributes


every_way = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())


@every_way
async def test_plain_file_is_replaced_and_keeps_its_permissions(
    sftp: asyncssh.SFTPClient, session: Session, file: Path, write: Write
) -> None:
    before, inode = described(file), inode_of(file)
    await write(sftp, session, file)
    assert content_of(file) == NEW
    assert described(file) == before
    assert inode_of(file) != inode


@every_way
async def test_acl_and_extended_attributes_are_kept(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, file: Path, write: Write
) -> None:
    set_acl(file, f"u:{server.uid(BOB.name)}:rw")
    os.setxattr(file, "user.origin", b"instrument 7")
    before, inode = described(file), inode_of(file)
    assert "group::---" in before[2]
    await write(sftp, session, file)
    assert content_of(file) == NEW
    assert described(file) == before
    assert inode_of(file) != inode


@every_way
async def test_group_of_the_file_is_kept(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, file: Path, write: Write
) -> None:
    """Alice is not a member of the file's group: she cannot give it to a new file."""
    give(file, server.uid(ALICE.name), server.uid(BOB.name), 0o664)
    before = described(file)
    await write(sftp, session, file)
    assert content_of(file) == NEW
    assert described(file) == before


@every_way
async def test_file_of_another_user_keeps_its_owner(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, file: Path, write: Write
) -> None:
    give(file, server.uid(BOB.name), server.uid(ALICE.name), 0o660)
    before = described(file)
    await write(sftp, session, file)
    assert content_of(file) == NEW
    assert described(file) == before


@every_way
async def test_file_that_the_user_may_not_write_is_refused_and_unchanged(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, file: Path, write: Write
) -> None:
    give(file, server.uid(BOB.name), server.uid(BOB.name), 0o644)
    before, content = described(file), content_of(file)
    with pytest.raises(PathFailed, match="you may not write to or change") as refusal:
        await write(sftp, session, file)
    assert refusal.value.details["reason"] == "denied"
    assert content_of(file) == content
    assert described(file) == before
    assert names_beside(file) == [file.name]


async def test_folder_with_a_default_acl_adds_nothing_to_a_private_file(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, file: Path
) -> None:
    set_acl(file.parent, f"d:u:{server.uid(BOB.name)}:rwx")
    before = described(file)
    await _send_file(sftp, session, file)
    assert content_of(file) == NEW
    assert described(file) == before


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o444])
async def test_permissions_that_are_asked_for_are_set(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, file: Path, mode: int
) -> None:
    set_acl(file, f"u:{server.uid(BOB.name)}:rw")
    await write_file(sftp, session, NEW, remote(file), mode, overwrite=True)
    assert content_of(file) == NEW
    assert mode_of(file) == mode
    assert f"user:{server.uid(BOB.name)}:rw-" in acl_of(file)


async def test_setuid_is_dropped(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, file: Path
) -> None:
    give(file, server.uid(ALICE.name), server.uid(ALICE.name), 0o6755)
    await _send_file(sftp, session, file)
    assert mode_of(file) == 0o755


async def test_content_is_written_in_place_where_no_command_can_be_run(
    server: OpenSSH, sftp: asyncssh.SFTPClient, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> asyncssh.SSHClientConnection:
        connection = await server.login(ALICE.name)
        monkeypatch.setattr(connection, "create_session", _no_session)
        return connection

    async def _no_session(*args: object, **options: object) -> None:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "no commands here")

    set_acl(file, f"u:{server.uid(BOB.name)}:rw")
    session = Session(refuse, runner=False)
    before, inode = described(file), inode_of(file)
    await write_file(sftp, session, NEW, remote(file), None, overwrite=True)
    await session.close()
    assert content_of(file) == NEW
    assert described(file) == before
    assert inode_of(file) == inode
    assert names_beside(file) == [file.name]


async def test_many_files_share_runs_of_the_script(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, file: Path
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(300):
            existing = file.parent / f"{number}"
            existing.write_bytes(b"old")
            os.chown(existing, server.uid(ALICE.name), server.uid(ALICE.name))
            existing.chmod(0o640 if number % 2 else 0o600)
            entry = tarfile.TarInfo(f"{number}")
            entry.size, entry.mode = len(NEW), 0o644
            tar.addfile(entry, io.BytesIO(NEW))
    await write_folder(sftp, session, archive.getvalue(), remote(file.parent), merge=True)
    for number in range(300):
        written = file.parent / f"{number}"
        assert written.read_bytes() == NEW
        assert written.stat().st_mode & 0o777 == (0o640 if number % 2 else 0o600)
