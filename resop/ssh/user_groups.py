"""Ask a login node for the groups of the user who has just logged in."""

from __future__ import annotations

import logging

import asyncssh

from resop.errors import ResopError
from resop.ssh.exec_channel import run_command_line
from resop.steps.output import NOISE_LIMIT, with_mark, without_noise
from resop.steps.quoting import login_shell_line

log = logging.getLogger(__name__)

TIME_LIMIT = 20.0
MAX_BYTES = 1 << 16


async def fetch_groups(connection: asyncssh.SSHClientConnection) -> list[str] | None:
    """Return the names of the user's groups according to `id`; None if `id` does not answer.

    Group names of a directory may contain spaces, so GNU's `id -z` is preferred.
    """
    try:
        for argv, separator in ((["id", "-Gnz"], b"\0"), (["id", "-Gn"], None)):
            line, mark = with_mark(login_shell_line(argv))
            max_output = MAX_BYTES + NOISE_LIMIT
            raw = await run_command_line(connection, line, None, TIME_LIMIT, max_output)
            output = without_noise(raw, mark, MAX_BYTES).stdout
            # Ignore the exit code: `id` also fails for a group without a name, and prints its ID.
            names = [each.decode("utf-8", "replace") for each in output.split(separator)]
            if groups := [name.strip() for name in names if name.strip()]:
                return groups
    except ResopError as fault:
        log.warning("cannot read the groups of a user at login: %s", fault.message)
    return None
