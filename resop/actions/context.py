"""The context of a shell in a running service: its commands, its settings and its logins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from datetime import datetime
from typing import Protocol

from resop.actions.catalog import Catalog
from resop.actions.executor import PastTask
from resop.config.settings import Settings
from resop.security.identity import Identity


class LoginAdministrator(Protocol):
    """Ends logins and blocks users: `resop.access.login_administration`."""

    def end_all(self, username: str, cluster: str, reason: str) -> Sized:
        """End all logins of a user, with everything that runs on them."""

    def block(self, username: str, cluster: str, reason: str, by: str) -> Sized:
        """End all logins of a user and refuse further ones."""

    def unblock(self, username: str, cluster: str, by: str) -> bool:
        """Let a user log in again."""


class TaskRecords(Protocol):
    """Reads the tasks that the service has recorded: `worker.past_tasks`."""

    def succeeded(
        self,
        identity: Identity,
        actions: Sequence[tuple[str, str]],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[PastTask]:
        """Yield a user's tasks of these operators' actions that succeeded, newest first."""


class ServiceContext:
    """The ShellContext of a running service."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        logins: LoginAdministrator | None = None,
        tasks: TaskRecords | None = None,
    ) -> None:
        """Without `logins`, as for a dry run, no login is ended and nobody blocked.

        Without `tasks` there are no past tasks.
        """
        self.command = catalog.command
        self.operation = catalog.operation
        self._settings = settings
        self._logins = logins
        self._tasks = tasks

    def setting(
        self, name: str, operator: str, cluster: str, *, secret: bool = False
    ) -> str | None:
        """Return a setting of CLUSTERS_FILE or config.env, or None.

        Raises Forbidden if the site reserves the setting for other operators or other clusters.
        """
        self._settings.policy().check_reader(name, operator)
        return self._settings.cluster_setting(name, cluster, secret=secret)

    def is_administrator(self, identity: Identity) -> bool:
        """Return True if ADMINISTRATORS lists this user."""
        return identity in self._settings.administrators()

    def past_tasks(
        self,
        identity: Identity,
        actions: Sequence[tuple[str, str]],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[PastTask]:
        """Yield a user's tasks of these operators' actions that succeeded, newest first."""
        if self._tasks is not None:
            yield from self._tasks.succeeded(identity, actions, since, until)

    def end_logins(self, username: str, cluster: str, by: str, block: str | None) -> int:
        """End the logins of a user, and with a reason to `block` refuse further ones."""
        if self._logins is None:
            return 0
        if block is None:
            return len(self._logins.end_all(username, cluster, f"ended by {by}"))
        return len(self._logins.block(username, cluster, block, by))

    def allow_logins(self, username: str, cluster: str, by: str) -> bool:
        """Let a blocked user log in again."""
        return self._logins is not None and self._logins.unblock(username, cluster, by)
