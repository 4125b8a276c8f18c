"""Where sshd allows few channels or connections, steps, transfers and logins wait their turn."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest

from resop.config.settings import Settings
from resop.errors import ClusterError
from resop.sftp import rights
from resop.sftp.client import open_sftp
from resop.sftp.files import read_file, write_file
from resop.ssh import channel_allocator
from resop.ssh import session as session_module
from resop.ssh.authorized_keys import KeyLine, NodeClock, add_line, remove_lines
from resop.ssh.authorized_keys_editor import edit_authorized_keys
from resop.ssh.connector import Connector
from resop.ssh.exec_channel import ChannelRefused
from resop.ssh.remote_account import fetch_account
from resop.ssh.session import Session
from tests.support.hostile import HostileSSH, Mode
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.services import eventually
from tests.support.steps import line_step

pytestmark = pytest.mark.timeout(60)

ALICE = Account("alice", "alice's password")
NORA = Account("nora", "nora's password")  # her .bashrc prints
LONG = 30.0
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBpWkvs2vcE2ErADxfAFdZaVtt8hMPKDTVUzzHqq5oBs"


@pytest.fixture(scope="module", params=[1, 2])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    config = f"MaxSessions {request.param}"
    with OpenSSH(tmp_path_factory.mktemp("few"), [ALICE, NORA], config=config) as running:
        (running.home(NORA.name) / ".bashrc").write_text("echo noise\n")
        yield running


@asynccontextmanager
async def opened(
    server: OpenSSH, user: str = ALICE.name, *, runner: bool = False, held: bool = False
) -> AsyncIterator[Session]:
    """Yield a session as of the API (no runner), of a worker (runner), or of a held login."""
    unused = [await server.login(user)] if held else []

    async def connect() -> asyncssh.SSHClientConnection:
        return unused.pop() if held else await server.login(user)

    session = Session(connect, runner=runner, held=held)
    try:
        yield session
    finally:
        assert not session.allocator.waiting
        assert not any(each.is_busy for each in session.allocator.connections)
        await session.close()


async def read(session: Session, path: str) -> bytes:
    async with open_sftp(session, LONG) as sftp:
        return (await read_file(sftp, path, 1 << 20)).content


async def write(session: Session, path: str, content: bytes) -> None:
    async with open_sftp(session, LONG) as sftp:
        await write_file(sftp, session, content, path, None, overwrite=True)


@pytest.mark.parametrize(
    ("runner", "held"), [(False, False), (True, False), (False, True), (True, True)]
)
async def test_steps_and_transfers_wait_their_turn(
    server: OpenSSH, runner: bool, held: bool
) -> None:
    (server.home(ALICE.name) / "a").write_bytes(b"content")
    async with opened(server, runner=runner, held=held) as session:
        steps = [session.run(line_step(f"echo {number}"), LONG) for number in range(8)]
        files, results = await asyncio.gather(
            asyncio.gather(*(read(session, "a") for _ in range(16))), asyncio.gather(*steps)
        )
        assert files == [b"content"] * 16
        assert [each.stdout for each in results] == [b"%d\n" % number for number in range(8)]
        assert (await session.run(line_step("echo end"), LONG)).stdout == b"end\n"


@pytest.mark.parametrize("held", [False, True])
async def test_files_are_replaced_though_that_needs_a_step(
    server: OpenSSH, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "CHANNEL_TIMEOUT", 1.0)
    home = server.home(ALICE.name)
    for number in range(12):
        (home / f"f{number}").write_bytes(b"old")
        (home / f"f{number}").chmod(0o640)
        os.chown(home / f"f{number}", server.uid(ALICE.name), server.uid(ALICE.name))
    async with opened(server, held=held) as session:
        async with asyncio.timeout(20):
            await asyncio.gather(*(write(session, f"f{n}", b"new") for n in range(12)))
    for number in range(12):
        file = home / f"f{number}"
        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)


async def test_noise_of_a_start_up_file_takes_no_second_channel(server: OpenSSH) -> None:
    async with opened(server, NORA.name) as session:
        for _ in range(3):
            async with open_sftp(session, LONG) as sftp:
                assert await sftp.exists(".")
        assert session.connections == 1


async def test_logins_and_logouts_open_one_channel_after_the_other(server: OpenSSH) -> None:
    async def log_in_and_out() -> None:
        credential = str(uuid.uuid4())

        def add(content: bytes, clock: NodeClock) -> bytes:
            expiry = clock.stamp(clock.now + timedelta(hours=1))
            return add_line(content, KeyLine(PUBLIC, "beef", credential, expiry), clock)

        def remove(content: bytes, clock: NodeClock) -> bytes:
            return remove_lines(content, ["beef"], [credential], clock)

        async with await server.login(ALICE.name) as connection:
            assert (await fetch_account(connection, "main")).username == ALICE.name
            await edit_authorized_keys(connection, add)
        async with await server.login(ALICE.name) as connection:
            await edit_authorized_keys(
                connection,
                lambda content, clock: remove_lines(content, "beef", [credential], clock),
            )

    for _ in range(2):
        await asyncio.gather(*(log_in_and_out() for _ in range(3)))
    keys = server.home(ALICE.name) / ".ssh" / "authorized_keys"
    assert keys.read_bytes() == b""


async def test_server_that_allows_no_channel_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "RETRY_PAUSE", 0.005)
    with HostileSSH(Mode.REFUSE_CHANNELS) as server:
        key = asyncssh.import_public_key(server.known_hosts_line.split(maxsplit=1)[1])
        settings = Settings(
            CLUSTER_ADDRESS=server.host,
            CLUSTER_SSH_PORT=server.port,
            KNOWN_HOSTS=key.get_fingerprint(),
        )
        connector, cluster = Connector(settings), settings.cluster(None)

        async def connect() -> asyncssh.SSHClientConnection:
            return await connector.with_password(cluster, "alice", "secret", None)

        session = Session(connect, runner=False)
        with pytest.raises(ChannelRefused, match="opened no channel") as caught:
            async with open_sftp(session, LONG):
                pass
        assert caught.value.as_json()["type"] == "ClusterUnreachable"
        assert caught.value.retryable
        await session.close()


async def test_account_without_sftp_is_no_matter_of_waiting(tmp_path: Path) -> None:
    need(reason_unavailable())
    with OpenSSH(tmp_path, [ALICE], config="Subsystem other /bin/false") as server:
        async with opened(server) as session:
            with pytest.raises(ClusterError, match="does not offer SFTP") as caught:
                async with open_sftp(session, LONG):
                    pass
            assert not caught.value.retryable


async def test_transfers_end_their_wait_with_an_error_to_retry(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_allocator, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(channel_allocator, "MAX_CHANNELS", 1)
    async with opened(server) as session:
        async with open_sftp(session, LONG):
            with pytest.raises(ChannelRefused, match=r"within 0\.2 s.*MaxSessions") as caught:
                async with open_sftp(session, 0.2):
                    pass
        assert caught.value.retryable


# -- few connections at once ------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["1", "2:60:4"])
async def test_connections_that_sshd_drops_are_opened_again(tmp_path: Path, limit: str) -> None:
    need(reason_unavailable())
    with OpenSSH(tmp_path, [ALICE], config=f"MaxStartups {limit}") as server:
        settings = Settings(
            CLUSTER_ADDRESS=server.host,
            CLUSTER_SSH_PORT=server.port,
            KNOWN_HOSTS=str(server.known_hosts),
        )
        connectors = [Connector(settings), Connector(settings)]  # of the API and of a worker
        cluster = settings.cluster(None)

        async def connect(connector: Connector) -> None:
            (await connector.with_password(cluster, ALICE.name, ALICE.password, None)).close()

        await asyncio.gather(*(connect(connectors[number % 2]) for number in range(10)))
        assert eventually(lambda: "MaxStartups" in server.log.read_text())
