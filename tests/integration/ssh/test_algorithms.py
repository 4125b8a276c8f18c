"""A login node without an algorithm in common is named as that; older ones can be accepted."""

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest

from resop.config.settings import Settings
from resop.config.ssh_algorithms import CIPHER, KEX, MAC
from resop.errors import ClusterMisconfigured
from resop.ssh import connector as connector_module
from resop.ssh import tcp
from resop.ssh.connector import Connector
from resop.ssh.exec_channel import run_command_line
from tests.support.hostile import HostileSSH, Mode
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = pytest.mark.timeout(30)

ALICE = Account("alice", "alice's password")

OLD_SERVERS = [
    ("HostKeyAlgorithms ssh-rsa", "host key", "ssh-rsa"),
    ("KexAlgorithms diffie-hellman-group1-sha1", "key exchange", "diffie-hellman-group1-sha1"),
    ("Ciphers aes128-cbc,3des-cbc", "encryption", "aes128-cbc"),
    ("MACs hmac-md5\nCiphers aes128-ctr", "MAC", "hmac-md5"),
]
"""Lines of sshd_config, the kind of algorithm, and one that the server has."""


def settings_for(server: OpenSSH | HostileSSH, known: str, **others: str) -> Settings:
    return Settings(
        CLUSTER_NAME="old",
        CLUSTER_ADDRESS=server.host,
        CLUSTER_SSH_PORT=server.port,
        KNOWN_HOSTS=known,
        SSH_ALGORITHMS=others.get("SSH_ALGORITHMS", ""),
    )


def old_server(folder: Path, config: str) -> OpenSSH:
    """Return a server with an RSA key only."""
    server = OpenSSH(folder, [ALICE], config=config)
    server._write_files()
    for key in (folder / "keys").glob("host_*"):
        key.unlink()
    for name in ("host_ed25519", "host_ecdsa"):
        command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "", "-f"]
        subprocess.run([*command, str(folder / "keys" / name)], check=True)
    server.write_known_hosts()
    return server


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
@pytest.mark.parametrize(("config", "kind", "algorithm"), OLD_SERVERS)
async def test_missing_algorithm_is_named_and_can_be_accepted(
    tmp_path: Path, config: str, kind: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(reason_unavailable())
    attempts = 0

    async def connect_tcp(addresses: Sequence[tcp.Address]) -> socket.socket:
        nonlocal attempts
        attempts += 1
        return await tcp.connect_tcp(addresses)

    monkeypatch.setattr(connector_module, "connect_tcp", connect_tcp)
    with old_server(tmp_path, config) as server:
        settings = settings_for(server, str(server.known_hosts))
        cluster = settings.cluster(None)
        with pytest.raises(ClusterMisconfigured) as caught:
            await Connector(settings).with_password(cluster, "alice", ALICE.password, None)
        assert f"have no {kind} algorithm in common: the cluster offers {algorithm}" in str(
            caught.value
        )
        assert "SSH_ALGORITHMS" in caught.value.message
        assert algorithm in caught.value.details["offered"]
        assert caught.value.details["accepted"]
        assert not caught.value.retryable
        assert attempts == 1
        settings = settings_for(server, str(server.known_hosts), SSH_ALGORITHMS=f"+{algorithm}")
        connector = Connector(settings)
        async with await connector.with_password(
            cluster, "alice", ALICE.password, None
        ) as connection:
            answer = await run_command_line(connection, "whoami", None, 10)
        assert answer.stdout == b"alice\n"


@pytest.mark.parametrize("compression", ["zlib@openssh.com", "zlib"])
async def test_compression_is_used_where_the_server_insists(
    monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    start = paramiko.Transport.start_server

    def compressing(self: paramiko.Transport, **arguments: Any) -> None:
        self.get_security_options().compression = (compression,)
        start(self, **arguments)

    monkeypatch.setattr(paramiko.Transport, "start_server", compressing)
    with HostileSSH(Mode.OTP) as server:
        key = asyncssh.import_public_key(server.known_hosts_line.split(maxsplit=1)[1])
        settings = settings_for(server, key.get_fingerprint())
        login = Connector(settings).with_password(
            settings.cluster(None), "alice", "secret", "123456"
        )
        if compression == "zlib":
            with pytest.raises(ClusterMisconfigured, match="no compression algorithm in common"):
                await login
        else:
            (await login).close()


def test_every_older_algorithm_is_known_to_asyncssh(tmp_path: Path) -> None:
    names = "ssh-rsa,diffie-hellman-group-exchange-sha1,diffie-hellman-group1-sha1,aes256-cbc"
    names += ",aes192-cbc,aes128-cbc,3des-cbc,hmac-sha1-96,hmac-md5"
    settings = Settings(SSH_ALGORITHMS=names, CLUSTER_ADDRESS="h", DATA_DIR=tmp_path)
    accepted = settings.ssh_algorithms(settings.cluster(None))
    asyncssh.SSHClientConnectionOptions(
        kex_algs=connector_module._with_older(KEX, accepted),
        encryption_algs=connector_module._with_older(CIPHER, accepted),
        mac_algs=connector_module._with_older(MAC, accepted),
        server_host_key_algs=["ssh-rsa"],
    )
