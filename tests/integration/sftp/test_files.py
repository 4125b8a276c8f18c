"""Files over SFTP of a real OpenSSH: the complete new file, or the old one."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import pytest_asyncio

from resop.errors import ClusterError, ContactLost, PathFailed, StepTimedOut, TaskCancelled
from resop.security.masking import Masker
from resop.sftp.client import open_sftp
from resop.sftp.copy import copy
from resop.sftp.files import read_file, write_file
from resop.ssh.session import Session
from resop.storage.changes import Change
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from worker.engine import new_executor
from worker.step_executor import SshStepExecutor

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

ALICE = Account("alice", "alice's password")
NORA = Account("nora", "nora's password")  # her .bashrc prints
LARGE = b"x" * 80_000_000  # takes a second, or nearly so


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("files"), [ALICE, NORA]) as running:
        yield running


@pytest.fixture
def home(server: OpenSSH) -> Path:
    home = server.home(ALICE.name)
    for entry in home.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return home


def connect(server: OpenSSH) -> Any:
    return server.login(ALICE.name)


@pytest_asyncio.fixture(loop_scope="module")
async def sftp(server: OpenSSH) -> AsyncIterator[asyncssh.SFTPClient]:
    async with await connect(server) as connection, connection.start_sftp_client() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def session(server: OpenSSH) -> AsyncIterator[Session]:
    """Yield a session whose steps have channels of their own, as in the API."""
    session = Session(lambda: connect(server), runner=False)
    yield session
    await session.close()


def names(home: Path) -> list[str]:
    return [each.name for each in home.iterdir()]


def is_growing(home: Path) -> bool:
    return any(part.stat().st_size for part in home.glob(".*.part"))


async def wait_for_part(home: Path) -> None:
    """Wait until a temporary file is being written."""
    for _ in range(1000):
        if is_growing(home):
            return
        await asyncio.sleep(0.01)


async def test_replaced_file_is_the_old_one_until_it_is_the_new_one(
    sftp: asyncssh.SFTPClient, session: Session, home: Path
) -> None:
    await write_file(sftp, session, b"old", "a", None, True)
    writing = asyncio.ensure_future(write_file(sftp, session, LARGE, "a", None, True))
    await wait_for_part(home)
    assert (home / "a").read_bytes() == b"old"
    await writing
    assert (home / "a").stat().st_size == len(LARGE)
    assert names(home) == ["a"]


async def test_cancelled_write_leaves_the_old_file(
    sftp: asyncssh.SFTPClient, session: Session, home: Path
) -> None:
    await write_file(sftp, session, b"old", "a", None, True)
    writing = asyncio.ensure_future(write_file(sftp, session, LARGE, "a", None, True))
    await wait_for_part(home)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert names(home) == ["a"]
    assert (await read_file(sftp, "a", 3)).content == b"old"


async def test_broken_connection_leaves_the_old_file(
    server: OpenSSH, sftp: asyncssh.SFTPClient, session: Session, home: Path
) -> None:
    await write_file(sftp, session, b"old", "a", None, True)
    writing = asyncio.ensure_future(write_file(sftp, session, LARGE, "a", None, True))
    await wait_for_part(home)
    await asyncio.to_thread(server.drop_connections)
    with pytest.raises(ContactLost):
        await writing
    assert (home / "a").read_bytes() == b"old"


async def test_one_of_several_writers_without_overwrite_wins(
    sftp: asyncssh.SFTPClient, session: Session, home: Path
) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    writes = [write_file(sftp, session, content, "a", None, False) for content in contents]
    ended = await asyncio.gather(*writes, return_exceptions=True)
    (winner,) = [number for number, fault in enumerate(ended) if fault is None]
    faults = [fault for fault in ended if isinstance(fault, PathFailed)]
    assert [fault.details["reason"] for fault in faults] == ["exists"] * 7
    assert (home / "a").read_bytes() == contents[winner]
    assert names(home) == ["a"]


@pytest.fixture(params=[True, False], ids=["copy-data", "block by block"])
def copier(
    request: pytest.FixtureRequest, sftp: asyncssh.SFTPClient, monkeypatch: pytest.MonkeyPatch
) -> asyncssh.SFTPClient:
    """Return SFTP with a server that knows copy-data, and with one that does not."""
    if not request.param:
        monkeypatch.setattr(type(sftp), "supports_remote_copy", False)
    return sftp


async def test_copy_is_complete_or_missing(
    copier: asyncssh.SFTPClient, session: Session, home: Path
) -> None:
    reports: list[tuple[float, float]] = []

    async def reason(source: str, target: str, overwrite: bool = False) -> str:
        try:
            await copy(
                copier, session, source, target, overwrite, lambda *each: reports.append(each)
            )
        except PathFailed as fault:
            return str(fault.details["reason"])
        return ""

    content = b"0123456789abcdef" * 2_500_000
    await write_file(copier, session, content, "a", 0o640, overwrite=True)
    assert await reason("a", "b") == ""
    assert (home / "b").read_bytes() == content
    assert (home / "b").stat().st_mode & 0o777 == 0o640
    assert reports[-1] == (len(content), len(content)), "all bytes are reported"
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    await write_file(copier, session, b"", "empty", None, overwrite=True)
    reasons = {
        ("empty", "b", False): "exists",
        ("empty", "b", True): "",
        ("nowhere", "c", False): "missing",
        ("a", "nowhere/c", False): "missing",
        ("/etc/shadow", "c", False): "denied",
        ("a", "/etc/c", False): "denied",
        ("a", ".", True): "is_folder",
        ("/dev/null", "c", False): "not_file",
        (".", "c", False): "failed",  # into itself
        (".", "/etc", False): "exists",
    }
    assert {each: await reason(*each) for each in reasons} == reasons
    assert (home / "b").read_bytes() == b""
    assert sorted(names(home)) == ["a", "b", "empty"]


async def test_folder_is_copied_and_merged(
    copier: asyncssh.SFTPClient, session: Session, home: Path
) -> None:
    await copier.makedirs("a/b", attrs=asyncssh.SFTPAttrs(permissions=0o750))
    for number in range(40):
        await write_file(copier, session, b"x" * number, f"a/b/{number}", None, overwrite=True)
    await copier.symlink("b/1", "a/link")
    assert await copy(copier, session, "a", "c", False, lambda *_: None) == (41, 780)
    assert len(list((home / "c/b").iterdir())) == 40
    assert (home / "c/b/39").read_bytes() == b"x" * 39
    assert (home / "c/link").readlink() == Path("b/1")
    (home / "a/b/1").write_bytes(b"other")
    (home / "c/kept").touch()
    assert await copy(copier, session, "a", "c", True, lambda *_: None) == (41, 784)
    assert ((home / "c/b/1").read_bytes(), (home / "c/kept").exists()) == (b"other", True)


class Steps:
    """A record writer that only collects the changes."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def write_soon(self, change: Change) -> None:
        self.changes.append(change)


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest_asyncio.fixture(loop_scope="module")
async def executor(server: OpenSSH, steps: Steps) -> AsyncIterator[SshStepExecutor]:
    async def connected() -> asyncssh.SSHClientConnection:
        connection: asyncssh.SSHClientConnection = await connect(server)
        return connection

    session = Session(connected)
    writer: Any = steps
    yield new_executor("1", session, writer, Masker(), time.monotonic() + 30)
    await session.close()


async def test_transfer_is_a_step_with_a_time_limit(
    executor: SshStepExecutor, steps: Steps, home: Path
) -> None:
    await asyncio.to_thread(executor.put, b"old", "a", 0o640, True)
    assert (await asyncio.to_thread(executor.get, "a", 10)).mode == 0o640
    executor.control.deadline = time.monotonic() + 0.2
    with pytest.raises(StepTimedOut):
        await asyncio.to_thread(executor.put, LARGE, "a", None, True)
    assert (home / "a").read_bytes() == b"old"
    assert names(home) == ["a"]
    assert len(steps.changes) == 6, "each is recorded when it begins and when it ends"


async def test_transfer_ends_with_its_task(executor: SshStepExecutor, home: Path) -> None:
    writing = asyncio.ensure_future(asyncio.to_thread(executor.put, LARGE, "a", None, True))
    await wait_for_part(home)
    executor.control.cancel()
    with pytest.raises(TaskCancelled, match="its transfer was ended"):
        await writing
    assert names(home) == []


async def test_copy_ends_with_its_task_and_leaves_no_file(
    executor: SshStepExecutor, home: Path, sftp: asyncssh.SFTPClient
) -> None:
    await sftp.mkdir("a")
    async with sftp.open("a/x", "wb") as file:
        await file.write(b"x", 3_000_000_000)  # and a hole before it
    copying = asyncio.ensure_future(asyncio.to_thread(executor.copy, "a", "b", False))
    for _ in range(1000):
        if executor.task_log.progress is not None:
            break
        await asyncio.sleep(0.01)
    executor.control.cancel()
    with pytest.raises(TaskCancelled, match="its transfer was ended"):
        await copying
    assert names(home) == ["a"]


async def test_operation_may_read_a_large_file(executor: SshStepExecutor, home: Path) -> None:
    content = b"x" * (5 << 20)
    await asyncio.to_thread(executor.put, content, "a", None, True)
    read = await asyncio.to_thread(executor.get, "a", 64 << 20)
    assert read.content == content
    proc = await asyncio.to_thread(executor.get, "/proc/version", 64 << 20)
    assert proc.content.startswith(b"Linux version ")
    for path, limit in (("a", (5 << 20) - 1), ("/proc/version", 3), ("/dev/null", 3)):
        with pytest.raises(PathFailed):
            await asyncio.to_thread(executor.get, path, limit)


@pytest.mark.parametrize(
    "noise",
    ["echo 1234 welcome; echo motd >&2", "printf x", "head -c 50000 /dev/zero", "printf '\\0\\0'"],
)
async def test_noise_of_a_start_up_file_does_no_harm(server: OpenSSH, noise: str) -> None:
    (server.home(NORA.name) / ".bashrc").write_text(f"{noise}\n")
    content = bytes(range(256)) * 4000

    async def connected() -> asyncssh.SSHClientConnection:
        return await server.login(NORA.name)

    session = Session(connected, runner=False)
    async with open_sftp(session, 30) as sftp:
        await write_file(sftp, session, content, "a", None, overwrite=True)
        assert (await read_file(sftp, "a", 1 << 20)).content == content
    await session.close()


async def test_answer_that_is_not_sftp_is_reported(server: OpenSSH) -> None:
    (server.home(NORA.name) / ".bashrc").write_text("echo no; exit\n")

    async def connected() -> asyncssh.SSHClientConnection:
        return await server.login(NORA.name)

    session = Session(connected, runner=False)
    with pytest.raises(ClusterError, match="did not answer with SFTP"):
        async with open_sftp(session, 30):
            pass
    await session.close()
