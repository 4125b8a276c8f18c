"""Find the home folder of an account, which rc files may leave (cd) or rename (HOME)."""

from __future__ import annotations

import logging
import secrets
from weakref import WeakKeyDictionary

import asyncssh

from resop.errors import ResopError
from resop.ssh.asyncssh_workarounds import request_home_folder
from resop.ssh.exec_channel import run_command_line
from resop.ssh.shell_refusal import LINGER
from resop.steps.quoting import login_shell_script

log = logging.getLogger(__name__)

TIME_LIMIT = 10.0
CD_HOME = """home=$(getent passwd "$LOGNAME" 2>/dev/null | cut -d : -f 6)
cd "${home:-$HOME}" || exit
"""
"""Commands for /bin/sh that enter the home folder in which sshd begins."""

_homes: WeakKeyDictionary[asyncssh.SSHClientConnection, bytes] = WeakKeyDictionary()


async def find_home(connection: asyncssh.SSHClientConnection, sftp: asyncssh.SFTPClient) -> bytes:
    """Return the absolute path of the home folder, or of the folder in which SFTP begins.

    Asks OpenSSH's SFTP server (since 8.7), else a shell; once for each connection. Where neither
    answers, no rc file is read either: an account for SFTP alone, perhaps in a chroot.
    """
    if connection not in _homes:
        username = str(connection.get_extra_info("username"))
        home = await request_home_folder(sftp, username) or await _ask_shell(connection)
        if not home.startswith(b"/") or not await sftp.isdir(home):
            home = await sftp.realpath(b".")
        _homes[connection] = home
    return _homes[connection]


async def _ask_shell(connection: asyncssh.SSHClientConnection) -> bytes:
    marker = secrets.token_hex(8)
    line = login_shell_script(f"{CD_HOME}printf '\\n%s\\n' {marker}; pwd -P")
    try:
        done = await run_command_line(connection, line, None, TIME_LIMIT, linger=LINGER)
    except ResopError as fault:
        log.info("the login node does not name the home folder: %s", fault.message)
        return b""
    return done.stdout.rpartition(f"\n{marker}\n".encode())[2].removesuffix(b"\n")
