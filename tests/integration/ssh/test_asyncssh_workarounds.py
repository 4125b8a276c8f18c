"""Undocumented behaviour of asyncssh that resop relies on: each test fails when it changes."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL
from paramiko.server import InteractiveQuery

from resop.config.settings import Settings
from resop.errors import LoginRefused
from resop.ssh.asyncssh_workarounds import (
    AbandonableSession,
    ChannelAbandoned,
    TcpTunnel,
    abandon,
    begin_in,
    open_session,
    request_home_folder,
    start_sftp,
)
from resop.ssh.connector import Connector
from resop.ssh.exec_channel import ChannelRefused, run_command_line
from resop.ssh.server_greeting import ServerGreeting
from resop.ssh.tcp import connect_tcp, resolve
from tests.support import hostile
from tests.support.hostile import HostileSSH, Mode
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.ports import free_port

pytestmark = pytest.mark.timeout(30)

ALICE = Account("alice", "alice's password")
IGNORE_RECEIVED = "Received SSH2_MSG_IGNORE"


@contextlib.asynccontextmanager
async def logged_in(
    folder: Path, config: str = ""
) -> AsyncIterator[tuple[OpenSSH, asyncssh.SSHClientConnection]]:
    need(reason_unavailable())
    with OpenSSH(folder, [ALICE], config=config) as server:
        settings = Settings(
            CLUSTER_ADDRESS=server.host,
            CLUSTER_SSH_PORT=server.port,
            KNOWN_HOSTS=str(server.known_hosts),
        )
        connector, cluster = Connector(settings), settings.cluster(None)
        async with await connector.with_password(cluster, ALICE.name, ALICE.password, None) as made:
            yield server, made


# -- empty packets


async def count_ignore_packets(folder: Path, cipher: str) -> int:
    """Count the empty packets that arrive with one command after the login."""
    config = f"LogLevel DEBUG3\nCiphers {cipher}"
    async with logged_in(folder, config) as (server, connection):
        assert connection.get_extra_info("send_cipher") == cipher
        before = server.log.read_text().count(IGNORE_RECEIVED)
        result = await run_command_line(connection, "cat", b"x" * 100_000, 10)
        assert result.stdout == b"x" * 100_000
        log = server.log.read_text()
    assert "debug3" in log
    return log.count(IGNORE_RECEIVED) - before


@pytest.mark.parametrize(
    "cipher",
    ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"],
)
async def test_no_empty_packets_where_the_cipher_authenticates(tmp_path: Path, cipher: str) -> None:
    assert await count_ignore_packets(tmp_path, cipher) == 0


@pytest.mark.parametrize("cipher", ["aes256-ctr"])
async def test_empty_packets_with_any_other_cipher(tmp_path: Path, cipher: str) -> None:
    assert await count_ignore_packets(tmp_path, cipher) > 4


# -- channels that open late


async def opens_a_channel(connection: asyncssh.SSHClientConnection) -> bool:
    """Return whether sshd opens a channel within a second, which it takes to free another."""
    for _ in range(20):
        with contextlib.suppress(ChannelRefused):
            await run_command_line(connection, "true", None, 10)
            return True
        await asyncio.sleep(0.05)
    return False


async def test_command_of_an_abandoned_session_is_not_sent(tmp_path: Path) -> None:
    async with logged_in(tmp_path, "MaxSessions 1") as (server, connection):
        session = AbandonableSession()
        opening = open_session(connection, session, "touch abandoned")
        assert abandon(opening, session)
        await asyncio.wait([opening])
        assert isinstance(opening.exception(), ChannelAbandoned)
        assert await opens_a_channel(connection)  # the only one allowed: it was closed
        assert not (server.home(ALICE.name) / "abandoned").exists()


async def test_session_has_its_channel_once_the_command_was_sent(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, connection):
        session = AbandonableSession()
        opening = open_session(connection, session, "touch sent")
        assert session.channel is None
        await asyncio.wait([opening])
        assert session.channel is not None
        assert not abandon(opening, session)
        await session.channel.wait_closed()
        assert (server.home(ALICE.name) / "sent").exists()


async def test_cancelled_opening_leaves_its_channel_open(tmp_path: Path) -> None:
    async with logged_in(tmp_path, "MaxSessions 1") as (_, connection):
        opening = asyncio.ensure_future(
            connection.create_session(AbandonableSession, "true", encoding=None)
        )
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        assert not await opens_a_channel(connection)


# -- SFTP behind rc files that print


async def test_sftp_starts_behind_noise_only_with_the_workaround(tmp_path: Path) -> None:
    async with logged_in(tmp_path, "MaxSessions 1") as (server, connection):
        (server.home(ALICE.name) / ".bashrc").write_text("echo noise\n")
        for _ in range(2):  # the first one finds out that there is noise
            async with await start_sftp(connection) as sftp:
                assert await sftp.exists(".bashrc")
            assert await eventually(lambda: not server.processes(ALICE.name))
            await asyncio.sleep(0.1)
        with pytest.raises(asyncssh.SFTPError):
            await connection.start_sftp_client()
        assert not await opens_a_channel(connection)  # it has left its own open


async def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


# -- what a server says first


async def test_greeting_of_a_server_is_collected(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, _):
        greeting = ServerGreeting()

        async def connect() -> socket.socket:
            return await connect_tcp(await resolve(server.host, server.port))

        async with asyncssh.connect(
            server.host,
            tunnel=TcpTunnel(connect, greeting),
            username=ALICE.name,
            password=ALICE.password,
            known_hosts=None,
        ):
            assert greeting.version.startswith("SSH-2.0-OpenSSH")
            assert "ssh-ed25519" in greeting.host_key_algorithms


async def test_paths_begin_in_the_home_folder_only_with_the_workaround(tmp_path: Path) -> None:
    async with logged_in(tmp_path) as (server, connection):
        (server.home(ALICE.name) / ".bashrc").write_text("cd /usr\n")
        async with connection.start_sftp_client() as sftp:
            assert await sftp.realpath(b".") == b"/usr"
            assert await request_home_folder(sftp, "nobody-of-this-name") == b""
            home = await request_home_folder(sftp, ALICE.name)
            assert home == b"/home/alice"
            begin_in(sftp, home)
            assert await sftp.realpath(b"a") == b"/home/alice/a"
            await sftp.mkdir(b"a")
            await sftp.rename(b"a", b"b")
            await sftp.symlink(b"b", b"c")
            assert await sftp.readlink(b"c") == b"b"
            assert {each.filename async for each in sftp.scandir(b"b")} == {b".", b".."}
        assert {"b", "c"} <= {each.name for each in server.home(ALICE.name).iterdir()}


# -- user names


async def test_user_name_that_cannot_be_sent_is_refused_before_connecting() -> None:
    settings = Settings(CLUSTER_ADDRESS="127.0.0.1", CLUSTER_SSH_PORT=free_port())
    connector, cluster = Connector(settings), settings.cluster(None)
    with pytest.raises(LoginRefused, match="cannot be sent"):
        await connector.with_password(cluster, "ali\0ce", "secret", None)


# -- prompts in another encoding


async def test_prompts_need_not_be_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> InteractiveQuery:
        latin1: tuple[Any, ...] = (b"\xe9l\xe8ve", (b"Contrase\xf1a: ", False))  # types: text only
        return InteractiveQuery("é", *latin1, ("Código:", True))

    def check(self: hostile._Session, responses: list[str]) -> int:
        return AUTH_SUCCESSFUL if responses == ["secret", "123456"] else AUTH_FAILED

    monkeypatch.setattr(hostile._Session, "check_auth_interactive", ask)
    monkeypatch.setattr(hostile._Session, "check_auth_interactive_response", check)
    with HostileSSH(Mode.OTP) as server:
        _, key = server.known_hosts_line.split(maxsplit=1)
        settings = Settings(
            CLUSTER_ADDRESS=server.host,
            CLUSTER_SSH_PORT=server.port,
            KNOWN_HOSTS=asyncssh.import_public_key(key).get_fingerprint(),
        )
        connector, cluster = Connector(settings), settings.cluster(None)
        (await connector.with_password(cluster, ALICE.name, "secret", "123456")).close()
