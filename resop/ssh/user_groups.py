"""Asks a login node for the groups of who has just logged in."""

from __future__ import annotations

import logging

import asyncssh

from resop.errors import ResopError
from resop.ssh.exec_channel import run_command_line
from resop.steps.output import NOISE_LIMIT, with_mark, without_noise
from resop.steps.quoting import login_shell_line

log = logging.getLogger(__name__)

SECONDS = 20.0
MOST_BYTES = 1 << 16


async def groups_of(connection: asyncssh.SSHClientConnection) -> list[str] | None:
    """The names of the user's groups, as `id` has them; None where it does not say.

    With NUL between them where `id` can (GNU): a name of a directory may have a space in it.
    """
    try:
        for words, between in ((["id", "-Gnz"], b"\0"), (["id", "-Gn"], None)):
            line, mark = with_mark(login_shell_line(words))
            raw = await run_command_line(connection, line, None, SECONDS, MOST_BYTES + NOISE_LIMIT)
            said = without_noise(raw, mark, MOST_BYTES)
            # Its exit code tells of a group without a name as well, which is then a number.
            names = [each.decode("utf-8", "replace") for each in said.stdout.split(between)]
            if found := [name.strip() for name in names if name.strip()]:
                return found
    except ResopError as fault:
        log.warning("the groups of a login are not known: %s", fault.message)
    return None
