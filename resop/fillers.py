"""Leaves out the empty packets (SSH_MSG_IGNORE) that asyncssh sends before all others.

They guard what a CBC cipher sends (RFC 4251, 9.3.1). A cipher that authenticates what it encrypts
has nothing to guard so, and each of them is encrypted, sent, read and decrypted like any other.
asyncssh has no setting for them. Should it stop asking itself for them in this way, they are sent
as before, and all goes on.
"""

from __future__ import annotations

from asyncssh import SSHClientConnection
from asyncssh.constants import MSG_IGNORE
from asyncssh.packet import SSHPacketLogger

AUTHENTICATED = frozenset(
    {
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    }
)
"""Ciphers that need none of them."""


def leave_out_fillers(connection: SSHClientConnection) -> None:
    """Send none from now on where the cipher allows that; to be called when logged in."""
    if connection.get_extra_info("send_cipher") not in AUTHENTICATED:
        return
    send = connection.send_packet

    def send_packet(pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, handler=handler)

    # Asked for by this name, of the connection itself, where it sends and where its channels do.
    connection.send_packet = send_packet  # type: ignore[method-assign]
