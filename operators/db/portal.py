"""Open the portal's database that config.env describes, with its client on the login node.

Settings: PORTAL_ENGINE (postgresql or mariadb; none where there is no portal), PORTAL_HOST,
PORTAL_PORT, PORTAL_DATABASE, PORTAL_USER, PORTAL_PASSWORD.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from operators.db import mariadb, postgresql
from operators.db.statement import DatabaseClient, DatabaseServer, InputParts, QueryRow, Statement
from resop import CommandFailed, ContactLost, DaemonUnavailable, Result, Secret, Shell

STEP_TIMEOUT = 60.0
NO_ROW_CHANGED = ("\n0\n",)
"""The output of a change that finds no row."""
ANSWER_LIMIT = 16 << 20
MAX_SHOWN_OUTPUT = 100
"""Characters of an unexpected output that an error shows."""

_CLIENTS: dict[str, DatabaseClient] = {"postgresql": postgresql, "mariadb": mariadb}
# The first line of standard input is the password, the rest is SQL. The environment of a process
# is readable only for its owner and root, who could read its memory as well.
_CONNECT_SCRIPT = (
    'IFS= read -r {password} && export {password} LC_ALL=C PGCONNECT_TIMEOUT=10 && exec "$@"'
)


@dataclass(frozen=True, slots=True)
class PortalDatabase:
    """The portal's database during one task.

    The `summary` of a step is displayed after its command line.
    """

    shell: Shell
    engine: DatabaseClient
    server: DatabaseServer
    password: Secret

    def read(self, summary: str, statement: Statement, limit: int) -> list[QueryRow]:
        """Return at most `limit` rows of a SELECT, as JSON values.

        Raises DaemonUnavailable; CommandFailed with the server's message; OperationFailed for more
        than ANSWER_LIMIT bytes.
        """
        ask = partial(self._run, summary, changes=False)
        return self.engine.read(ask, statement, limit)

    def plan(self, summary: str, statement: Statement, limit: int) -> None:
        """Show a query in a dry run: the server checks it, but a function in it may change data."""

        def show(flags: Sequence[str], script: InputParts) -> Result:
            return replace(self._run(summary, flags, script, changes=True), stdout="[]")

        self._check(summary, statement)
        self.engine.read(show, statement, limit)

    def _check(self, summary: str, statement: Statement) -> None:
        words = f"have the server check: {summary}"
        self._run(words, (), self.engine.check(statement), changes=False)

    def change(self, summary: str, statement: Statement) -> int:
        """Make a change, and return the number of changed rows. Raises like `read`; ContactLost.

        In a dry run, the server checks the statement, and the number is 1.
        """
        if self.shell.dry_run:
            self._check(summary, statement)
        result = self._run(summary, (), self.engine.change(statement), changes=True)
        return 1 if self.shell.dry_run else self._count(result)

    def _count(self, result: Result) -> int:
        last = result.lines[-1] if result.lines else ""
        if not last.isdecimal():
            self.shell.fail(
                "the database's client printed no number of changed rows: "
                f"{last[:MAX_SHOWN_OUTPUT]!r}"
            )
        return int(last)

    def undone_by(self, summary: str, statement: Statement) -> AbstractContextManager[None]:
        """Register the change that undoes the one made in the context."""
        script = self._input(self.engine.change(statement))
        return self.shell.undone_by(
            *self._argv(),
            input=script,
            launcher=self._launcher(),
            comment=summary,
            where=f"portal's database {self.server.database} at {self.server.host}",
            absent=NO_ROW_CHANGED,
        )

    def _run(
        self, summary: str, flags: Sequence[str], script: InputParts, *, changes: bool
    ) -> Result:
        result = self.shell.run(
            *self._argv(),
            *flags,
            input=self._input(script),
            reads=not changes,
            timeout=STEP_TIMEOUT,
            check=False,
            max_output=ANSWER_LIMIT,
            launcher=self._launcher(),
            comment=summary,
        )
        if result.exit_code != 0:
            raise self._failure(result, changes)
        if result.truncated:
            self.shell.fail(f"the answer has more than {ANSWER_LIMIT} bytes: narrow the request")
        return result

    def _argv(self) -> list[str]:
        return self.engine.command_line(self.server)

    def _launcher(self) -> list[str]:
        script = _CONNECT_SCRIPT.format(password=self.engine.PASSWORD_VARIABLE)
        return ["sh", "-c", script, "portal"]

    def _input(self, script: InputParts) -> InputParts:
        return [self.password, "\n", *script]

    def _failure(self, result: Result, changes: bool) -> Exception:
        """Return the error for the client's message."""
        name = self.engine.PRODUCT
        where = f"{name} at {self.server.host}:{self.server.port}"
        failure = result.failure()
        lost = self.engine.CONNECTION_LOST.search(result.stderr)
        if self.engine.UNREACHABLE.search(result.stderr) or (lost and not changes):
            return DaemonUnavailable(f"{where} cannot be reached", daemon=name, **failure.details)
        if lost:
            return ContactLost(
                f"the connection to {where} broke: the change may or may not have been made"
            )
        found = self.engine.ERROR_TEXT.search(result.stderr)
        return CommandFailed(
            f"{where}: {found[1] if found else failure.message}", **failure.details
        )


def has_portal(shell: Shell) -> bool:
    """Return True if the site has configured a portal."""
    if shell.setting("PORTAL_ENGINE", "postgresql") == "none":
        return False
    return shell.has_secret("PORTAL_PASSWORD")


def open_portal(shell: Shell) -> PortalDatabase:
    """Return the portal's database; NotPermitted unless the user is an administrator."""
    password = shell.secret("PORTAL_PASSWORD")
    name = shell.setting("PORTAL_ENGINE", "postgresql")
    if name not in _CLIENTS:
        shell.fail(f"setting PORTAL_ENGINE must be {' or '.join(_CLIENTS)}, not {name}")
    engine = _CLIENTS[name]
    port = shell.setting("PORTAL_PORT", str(engine.DEFAULT_PORT))
    if not re.fullmatch("[0-9]{1,5}", port):
        shell.fail(f"setting PORTAL_PORT must be a number, not {port}")
    server = DatabaseServer(
        host=shell.setting("PORTAL_HOST", "127.0.0.1"),
        port=int(port),
        database=shell.setting("PORTAL_DATABASE", "portal"),
        user=shell.setting("PORTAL_USER", "portal"),
    )
    return PortalDatabase(shell, engine, server, password)
