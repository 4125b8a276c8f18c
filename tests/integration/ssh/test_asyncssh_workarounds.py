"""What a real sshd is sent that it is to ignore."""

from pathlib import Path

import pytest

from resop.config.settings import Settings
from resop.ssh.connector import Connector
from resop.ssh.exec_channel import run_command_line
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = pytest.mark.timeout(30)

ALICE = Account("alice", "alice's password")
IGNORED = "Received SSH2_MSG_IGNORE"


async def ignored(folder: Path, cipher: str) -> int:
    """How many such packets come with one command, once logged in."""
    need(reason_unavailable())
    config = f"LogLevel DEBUG3\nCiphers {cipher}"
    with OpenSSH(folder, [ALICE], config=config) as server:
        settings = Settings(
            CLUSTER_ADDRESS=server.host,
            CLUSTER_SSH_PORT=server.port,
            KNOWN_HOSTS=str(server.known_hosts),
        )
        connector, cluster = Connector(settings), settings.cluster(None)
        async with await connector.with_password(cluster, ALICE.name, ALICE.password, None) as made:
            assert made.get_extra_info("send_cipher") == cipher
            before = server.log.read_text().count(IGNORED)
            answer = await run_command_line(made, "cat", b"x" * 100_000, 10)
            assert answer.stdout == b"x" * 100_000
            said = server.log.read_text()
    assert "debug3" in said
    return said.count(IGNORED) - before


@pytest.mark.parametrize(
    "cipher",
    ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"],
)
async def test_none_where_the_cipher_authenticates(tmp_path: Path, cipher: str) -> None:
    assert await ignored(tmp_path, cipher) == 0


@pytest.mark.parametrize("cipher", ["aes256-ctr"])
async def test_one_with_each_packet_else(tmp_path: Path, cipher: str) -> None:
    assert await ignored(tmp_path, cipher) > 4
