"""A login node whose SFTP server lists names that lead out of the folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from resop.errors import ClusterError
from resop.sftp.folders import read_folder
from tests.support.ports import HOST

NAMES = [b"../escape", b"/etc/passwd", b"a/b", b"..//x", b"", b"a\0b"]


class _AnyUser(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False


class _Liar(asyncssh.SFTPServer):
    """Lists one file with a name of the test's choice."""

    name = b""

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        yield asyncssh.SFTPName(self.name, attrs=asyncssh.SFTPAttrs(permissions=0o100644, size=0))


@pytest.mark.parametrize("name", NAMES)
async def test_an_impossible_name_is_refused(tmp_path: Path, name: bytes) -> None:
    liar = type("Liar", (_Liar,), {"name": name})
    listener = await asyncssh.listen(
        HOST,
        0,
        server_factory=_AnyUser,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: liar(channel, chroot=str(tmp_path).encode()),
    )
    async with (
        listener,
        asyncssh.connect(HOST, listener.get_port(), known_hosts=None, config=None) as connection,
        connection.start_sftp_client() as sftp,
    ):
        with pytest.raises(ClusterError, match="lists a file with an impossible name"):
            await read_folder(sftp, ".", 1 << 20)
