"""The portal's database as config.env describes it, asked by its client on the login node.

Settings: PORTAL_ENGINE (postgresql or mariadb), PORTAL_HOST, PORTAL_PORT, PORTAL_DATABASE,
PORTAL_USER, PORTAL_PASSWORD.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from operators.db import mariadb, postgresql
from operators.db.statement import Engine, Parts, Row, Server, Statement
from resop import CommandFailed, ContactLost, DaemonUnavailable, Result, Secret, Shell

STEP_SECONDS = 60.0
ANSWER_LIMIT = 16 << 20

_ENGINES: dict[str, Engine] = {"postgresql": postgresql, "mariadb": mariadb}
# The first line of standard input is the password, the rest is SQL. In the environment of a
# process its owner and root alone can read it, who can read its memory, too.
_CONNECTED = (
    'IFS= read -r {password} && export {password} LC_ALL=C PGCONNECT_TIMEOUT=10 && exec "$@"'
)


@dataclass(frozen=True, slots=True)
class Portal:
    """The database, for one task. `what`, said in a few words, is shown in the command line."""

    shell: Shell
    engine: Engine
    server: Server
    password: Secret

    def read(self, what: str, statement: Statement, limit: int) -> list[Row]:
        """At most `limit` rows of a SELECT, as JSON values.

        Raises DaemonUnavailable, CommandFailed with what the server says, OperationFailed for more
        than ANSWER_LIMIT bytes.
        """
        ask = partial(self._run, what, changes=False)
        return self.engine.read(ask, statement, limit)

    def change(self, what: str, statement: Statement) -> int:
        """Make a change; how many rows it changed. Raises as `read`, and ContactLost."""
        result = self._run(what, (), self.engine.change(statement), changes=True)
        return int(result.lines[-1])

    def undone_by(self, what: str, statement: Statement) -> AbstractContextManager[None]:
        """Register the change that undoes the one made inside."""
        given = self._input(self.engine.change(statement))
        return self.shell.undone_by(*self._argv(what), input=given)

    def _run(self, what: str, flags: Sequence[str], script: Parts, *, changes: bool) -> Result:
        result = self.shell.run(
            *self._argv(what),
            *flags,
            input=self._input(script),
            timeout=STEP_SECONDS,
            check=False,
            max_output=ANSWER_LIMIT,
        )
        if result.exit_code != 0:
            raise self._failure(result, changes)
        if result.truncated:
            self.shell.fail(f"the answer has more than {ANSWER_LIMIT} bytes: ask for less")
        return result

    def _argv(self, what: str) -> list[str]:
        connected = _CONNECTED.format(password=self.engine.PASSWORD)
        return ["sh", "-c", connected, what, *self.engine.client(self.server)]

    def _input(self, script: Parts) -> Parts:
        return [self.password, "\n", *script]

    def _failure(self, result: Result, changes: bool) -> Exception:
        """What the client's message means."""
        name = self.engine.NAME
        where = f"{name} at {self.server.host}:{self.server.port}"
        failed = result.failure()
        lost = self.engine.LOST.search(result.stderr)
        if self.engine.AWAY.search(result.stderr) or (lost and not changes):
            return DaemonUnavailable(f"{where} is away", daemon=name, **failed.details)
        if lost:
            return ContactLost(f"{where} was lost: nobody knows whether the change was made")
        said = self.engine.FAULT.search(result.stderr)
        return CommandFailed(f"{where}: {said[1] if said else failed.message}", **failed.details)


def portal(shell: Shell) -> Portal:
    """The portal's database; NotPermitted for who is no administrator."""
    password = shell.secret("PORTAL_PASSWORD")
    name = shell.setting("PORTAL_ENGINE", "postgresql")
    if name not in _ENGINES:
        shell.fail(f"the setting PORTAL_ENGINE is {' or '.join(_ENGINES)}, not {name}")
    engine = _ENGINES[name]
    port = shell.setting("PORTAL_PORT", str(engine.PORT))
    if not re.fullmatch("[0-9]{1,5}", port):
        shell.fail(f"the setting PORTAL_PORT is a number, not {port}")
    server = Server(
        host=shell.setting("PORTAL_HOST", "127.0.0.1"),
        port=int(port),
        database=shell.setting("PORTAL_DATABASE", "portal"),
        user=shell.setting("PORTAL_USER", "portal"),
    )
    return Portal(shell, engine, server, password)
