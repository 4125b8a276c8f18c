"""Everything that relies on undocumented behaviour of asyncssh, so that upgrades are easy to check.

tests/integration/ssh/test_asyncssh_workarounds.py has a test for each part. It fails when asyncssh
changes what the part relies on.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncssh
from asyncssh import auth
from asyncssh.constants import FXP_NAME, MSG_IGNORE, OPEN_REQUEST_SESSION_FAILED
from asyncssh.packet import Boolean, SSHPacket, SSHPacketLogger, String, UInt32
from asyncssh.saslprep import SASLPrepError as SASLPrepError

from resop.ssh.server_greeting import ServerGreeting
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


# -- our TCP connection, and what the server says before anything is encrypted


END_DELAY = 0.02
"""Seconds."""


class TcpTunnel:
    """Gives asyncssh a socket that `connect` has connected, as its `tunnel`.

    asyncssh's own parameter for a socket has no place to look at what the server says first. This
    relies on asyncssh calling `create_connection` of the tunnel like that of an event loop.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[socket.socket]], greeting: ServerGreeting
    ) -> None:
        self._connect = connect
        self._greeting = greeting

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Return the transport of the socket, and the SSH protocol that uses it."""
        connection = await self._connect()
        protocol = protocol_factory()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(
            lambda: _GreetingReader(protocol, self._greeting), sock=connection
        )
        return transport, protocol


class _GreetingReader(asyncio.Protocol):
    """Collects a server's greeting on its way to the protocol, which it then leaves alone.

    It reports the end of the connection a little later: a server closes it at once if no algorithm
    is common, and asyncssh, which would say so, reads the greeting in a task of its own.
    """

    def __init__(self, protocol: asyncio.Protocol, greeting: ServerGreeting) -> None:
        self._protocol = protocol
        self._greeting = greeting
        self._is_complete = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._is_complete:
            self._transport.set_protocol(self._protocol)
        else:
            self._is_complete = self._greeting.feed(data)
        self._protocol.data_received(data)

    def eof_received(self) -> None:
        """Let the transport close itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(END_DELAY, self._protocol.connection_lost, exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


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


# -- a channel that was opened, and whose request was refused

REQUEST_REFUSED = OPEN_REQUEST_SESSION_FAILED
"""The code of asyncssh's ChannelOpenError for a command or subsystem that the server refuses."""


# -- SFTP behind rc files that print

# Length, SSH_FXP_VERSION, version 3 or 4 (draft-ietf-secsh-filexfer-02, 4).
SFTP_VERSION_PACKET = re.compile(rb"\0\0..\x02\0\0\0[\x03\x04]", re.DOTALL)
SFTP_VERSION_BYTES = 9
READ_BYTES = 1 << 15
NOISY = "resop_rc_files_print"
CLOSE_TIMEOUT = 1.0


async def start_sftp(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    """Start SFTP, also behind rc files that print, which are known from then on.

    Raises the errors of `SSHClientConnection.start_sftp_client`. This relies on its calling
    `open_session` of the connection, and `readexactly` of the reader for each packet. If the first
    packet is none, it leaves the channel open, which would count against MaxSessions.
    """
    if not connection.get_extra_info(NOISY):
        opening = _OpeningSftp(connection, skip_noise=False)
        try:
            return await opening.start()
        except asyncssh.SFTPError:
            connection.set_extra_info(**{NOISY: True})
            await opening.close()
    opening = _OpeningSftp(connection, skip_noise=True)
    try:
        return await opening.start()
    except asyncssh.SFTPError:
        await opening.close()
        raise


class _OpeningSftp:
    """A connection over which SFTP is started; its session may begin with noise."""

    def __init__(self, connection: asyncssh.SSHClientConnection, *, skip_noise: bool) -> None:
        self._connection = connection
        self._skip_noise = skip_noise
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def open_session(self, **options: Any) -> tuple[Any, Any, Any]:
        writer, reader, errors = await self._connection.open_session(**options)
        self._channel = cast("asyncssh.SSHClientChannel[bytes]", writer.channel)
        return writer, _ReaderAfterNoise(reader) if self._skip_noise else reader, errors

    async def start(self) -> asyncssh.SFTPClient:
        this = cast(asyncssh.SSHClientConnection, self)
        try:
            return await asyncssh.SSHClientConnection.start_sftp_client(this)
        except asyncio.CancelledError:  # at its time limit, for example
            if self._channel is not None:
                self._channel.abort()
            raise

    async def close(self) -> None:
        """Close the channel, and wait until the server has done so."""
        if self._channel is not None:
            self._channel.abort()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._channel.wait_closed()


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


async def request_home_folder(sftp: asyncssh.SFTPClient, username: str) -> bytes:
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
