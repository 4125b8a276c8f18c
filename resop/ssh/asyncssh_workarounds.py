"""Everything that relies on undocumented behaviour of asyncssh, so that upgrades are easy to check.

tests/integration/ssh/test_asyncssh_workarounds.py has a test for each part. It fails when asyncssh
changes what the part relies on.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

import asyncssh
from asyncssh import auth
from asyncssh.constants import FXP_NAME, MSG_IGNORE
from asyncssh.packet import Boolean, SSHPacket, SSHPacketLogger, String, UInt32
from asyncssh.saslprep import SASLPrepError as SASLPrepError

from resop.steps.output import NOISE_LIMIT

# -- SSH_MSG_IGNORE

AUTHENTICATED_CIPHERS = frozenset(
    {
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    }
)
"""The ciphers that need no empty packets."""


def skip_ignore_packets(connection: asyncssh.SSHClientConnection) -> None:
    """Send no empty packets any more where the cipher allows that; call it after the login.

    asyncssh sends an empty packet (SSH_MSG_IGNORE) before each other packet, and has no setting
    for that. They protect CBC ciphers (RFC 4251, 9.3.1). An authenticated cipher does not need
    them, and each costs as much as any packet. If asyncssh stops calling its own `send_packet`,
    the empty packets are sent again and do no harm.
    """
    if connection.get_extra_info("send_cipher") not in AUTHENTICATED_CIPHERS:
        return
    send = connection.send_packet

    def send_packet(pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, handler=handler)

    # The connection and its channels look the method up by this name.
    connection.send_packet = send_packet  # type: ignore[method-assign]


# -- prompts in another encoding than UTF-8

KEYBOARD_INTERACTIVE = b"keyboard-interactive"
PROMPTS_ACCEPTED = "resop_prompts_accepted"
_Prompts: Any = auth._client_auth_handlers[KEYBOARD_INTERACTIVE]


class AnyEncodingPrompts(_Prompts):  # type: ignore[misc]
    """Prompts in Latin-1 as well, instead of a connection that ends with a protocol error.

    RFC 4256 wants UTF-8, but PAM modules translate into the encoding of sshd's locale, and ssh
    shows what comes. This relies on the name of the method, and on the form of its packet.

    It also notes that the answers were accepted, though the server wants another method as well.
    """

    def auth_succeeded(self) -> None:
        """Note it with the connection: see `prompts_were_accepted`."""
        self._conn.set_extra_info(**{PROMPTS_ACCEPTED: True})

    def _process_info_request(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        super()._process_info_request(pkttype, pktid, SSHPacket(_in_utf8(packet)))

    _packet_handlers = {auth.MSG_USERAUTH_INFO_REQUEST: _process_info_request}  # noqa: RUF012


auth._client_auth_handlers[KEYBOARD_INTERACTIVE] = AnyEncodingPrompts


def prompts_were_accepted(connection: asyncssh.SSHClientConnection) -> bool:
    """Return True if the server has accepted the answers to its prompts."""
    return bool(connection.get_extra_info(PROMPTS_ACCEPTED))


def _in_utf8(packet: SSHPacket) -> bytes:
    """Return the content of an SSH_MSG_USERAUTH_INFO_REQUEST (RFC 4256, 3.2), in UTF-8."""
    name, instruction, language = (packet.get_string() for _ in range(3))
    count = packet.get_uint32()
    parts = [String(_utf8(name)), String(_utf8(instruction)), String(language), UInt32(count)]
    for _ in range(count):
        parts += [String(_utf8(packet.get_string())), Boolean(packet.get_boolean())]
    return b"".join(parts)


def _utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()
    return text


# -- a command that must not be sent too late


class ChannelAbandoned(Exception):
    """Nobody waits for the channel any more."""


class AbandonableSession(asyncssh.SSHClientSession[bytes]):
    """A session whose command is not sent if the session is abandoned before its channel opens.

    This relies on the order of asyncssh: it calls `connection_made` when the channel is open, then
    sends the request with the command, unless `connection_made` raises an exception.
    """

    def __init__(self) -> None:
        self.channel: asyncssh.SSHClientChannel[bytes] | None = None
        """The channel, from the moment on when the command is sent."""
        self.abandoned = False

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        if self.abandoned:
            chan.abort()
            raise ChannelAbandoned
        self.channel = chan


def open_session(
    connection: asyncssh.SSHClientConnection, session: AbandonableSession, line: str
) -> asyncio.Future[Any]:
    """Open a channel and request `line` over it; do not cancel the future, abandon the session.

    If the opening is cancelled, asyncssh never closes a channel that the server opens later.
    """
    # Without a command asyncssh requests a login shell, which would run its standard input.
    opening = connection.create_session(lambda: session, line or ":", encoding=None)
    return asyncio.ensure_future(opening)


def abandon(opening: asyncio.Future[Any], session: AbandonableSession) -> bool:
    """Prevent the command from being sent; return False if it was sent already."""
    session.abandoned = True
    opening.add_done_callback(lambda done: done.cancelled() or done.exception())
    return session.channel is None


# -- SFTP behind rc files that print

# Length, SSH_FXP_VERSION, version 3 or 4 (draft-ietf-secsh-filexfer-02, 4).
SFTP_VERSION_PACKET = re.compile(rb"\0\0..\x02\0\0\0[\x03\x04]", re.DOTALL)
SFTP_VERSION_BYTES = 9
READ_BYTES = 1 << 15


async def start_sftp_after_noise(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    """Start SFTP, skipping output of rc files before the first packet.

    Raises the errors of `SSHClientConnection.start_sftp_client`, which calls `open_session` of the
    connection, and reads packets with `readexactly` of the reader.
    """
    noisy = cast(asyncssh.SSHClientConnection, _NoisyConnection(connection))
    return await asyncssh.SSHClientConnection.start_sftp_client(noisy)


class _NoisyConnection:
    """A connection whose sessions begin with noise."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def open_session(self, **options: Any) -> tuple[Any, _ReaderAfterNoise, Any]:
        writer, reader, errors = await self._connection.open_session(**options)
        return writer, _ReaderAfterNoise(reader), errors


class _ReaderAfterNoise:
    """A reader that begins with the first SFTP packet."""

    def __init__(self, reader: asyncssh.SSHReader[bytes]) -> None:
        self._reader = reader
        self._buffer: bytes | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def readexactly(self, size: int) -> bytes:
        """Read `size` bytes; raises IncompleteReadError if the stream ends early."""
        buffer = await self._first_packet() if self._buffer is None else self._buffer
        data, self._buffer = buffer[:size], buffer[size:]
        if len(data) < size:
            data += await self._reader.readexactly(size - len(data))
        return data

    async def _first_packet(self) -> bytes:
        """Read until the first packet begins; return the bytes from there on."""
        read, searched = bytearray(), 0
        while not (packet := SFTP_VERSION_PACKET.search(read, searched)):
            searched = max(0, len(read) - SFTP_VERSION_BYTES)
            more = await self._reader.read(READ_BYTES)
            if not more or len(read) > NOISE_LIMIT:
                raise asyncio.IncompleteReadError(bytes(read), None)
            read += more
        return bytes(read[packet.start() :])


# -- the folder in which SFTP begins

EXPAND_PATH = b"expand-path@openssh.com"


async def expand_home(sftp: asyncssh.SFTPClient, username: str) -> bytes:
    """Ask an SFTP server for a user's home folder; return nothing if it does not answer that.

    OpenSSH has the request since version 8.7, and takes `~` alone for the folder in which it runs.
    asyncssh cannot send it, but keeps a table of the answers that it expects.
    """
    handler = sftp._handler
    handler._return_types.setdefault(EXPAND_PATH, FXP_NAME)
    try:
        answer = await handler._make_request(EXPAND_PATH, String(f"~{username}"))
    except asyncssh.SFTPError:
        return b""
    names, _ = cast(tuple[list[asyncssh.SFTPName], bool], answer)
    return names[0].filename if names and isinstance(names[0].filename, bytes) else b""


def begin_in(sftp: asyncssh.SFTPClient, folder: bytes) -> None:
    """Have all relative paths begin in `folder`; `chdir` would ask the server once more."""
    sftp._cwd = folder
