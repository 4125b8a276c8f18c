"""Leaves out the empty packets (SSH_MSG_IGNORE) that asyncssh sends before all others.

They guard what a CBC cipher sends (RFC 4251, 9.3.1). A cipher that authenticates what it encrypts
has nothing to guard so, and each of them is encrypted, sent, read and decrypted like any other.
asyncssh has no setting for them. Should it stop asking itself for them in this way, they are sent
as before, and all goes on.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

import asyncssh
from asyncssh import SSHClientConnection
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import SSHPacketLogger

from resop.steps.output import NOISE_LIMIT

AUTHENTICATED_CIPHERS = frozenset(
    {
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    }
)
"""Ciphers that need none of them."""


def skip_ignore_packets(connection: SSHClientConnection) -> None:
    """Send none from now on where the cipher allows that; to be called when logged in."""
    if connection.get_extra_info("send_cipher") not in AUTHENTICATED_CIPHERS:
        return
    send = connection.send_packet

    def send_packet(pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, handler=handler)

    # Asked for by this name, of the connection itself, where it sends and where its channels do.
    connection.send_packet = send_packet  # type: ignore[method-assign]


# Length, SSH_FXP_VERSION, version 3 or 4 (draft-ietf-secsh-filexfer-02, 4).
SFTP_VERSION_PACKET = re.compile(rb"\0\0..\x02\0\0\0[\x03\x04]", re.DOTALL)


READ_BYTES = 4096


async def start_sftp_after_noise(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    """SFTP over a connection; raises as its `start_sftp_client` does."""
    noisy = cast(asyncssh.SSHClientConnection, _Noisy(connection))
    return await asyncssh.SSHClientConnection.start_sftp_client(noisy)


class _Noisy:
    """A connection whose sessions begin with noise."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def open_session(self, **how: Any) -> tuple[Any, _AfterNoise, Any]:
        writer, reader, errors = await self._connection.open_session(**how)
        return writer, _AfterNoise(reader), errors


class _AfterNoise:
    """What is read from the first packet on."""

    def __init__(self, reader: asyncssh.SSHReader[bytes]) -> None:
        self._reader = reader
        self._held: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def readexactly(self, size: int) -> bytes:
        """So many bytes; IncompleteReadError when there are fewer."""
        held = await self._first() if self._held is None else self._held
        piece, self._held = held[:size], held[size:]
        if len(piece) < size:
            piece += await self._reader.readexactly(size - len(piece))
        return piece

    async def _first(self) -> bytes:
        """What was read with the first packet, from its beginning on."""
        read = b""
        while not (found := SFTP_VERSION_PACKET.search(read)):
            more = await self._reader.read(READ_BYTES)
            if not more or len(read) > NOISE_LIMIT:
                raise asyncio.IncompleteReadError(read, None)
            read += more
        return read[found.start() :]
