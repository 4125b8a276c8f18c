"""Ask the policy about a user's actions, with the groups recorded at login, and the key's scope.

The API asks before it queues a task, and the worker again before it runs the task: the policy may
have changed while the task was waiting, or the API process may have another file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from resop.actions.catalog import Action, Catalog
from resop.config.policy import Decision, Policy
from resop.security.identity import Identity
from resop.security.scope import Scope
from resop.storage.credentials import CredentialStore

MAX_CACHED_LOGINS = 10_000
READ_FILES, WRITE_FILES = "files:read", "files:write"
"""The actions of /files and /folders; a file written there may run at the next login."""
CREATE_API_KEY = "auth:create_api_key"
"""The action of POST /api-keys."""
_UNQUEUED = (READ_FILES, WRITE_FILES, CREATE_API_KEY)
"""The actions that are no tasks, so that they cannot wait for approval."""


def check_policy(policy: Policy, catalog: Catalog) -> None:
    """Raise InvalidSettings if a policy does not fit the actions that there are."""
    policy.check_names(governed_actions(catalog))
    policy.check_approvals(_UNQUEUED)


def governed_actions(catalog: Catalog) -> list[str]:
    """Return the actions that a policy governs: all but login and logout."""
    return [*scoped_actions(catalog), CREATE_API_KEY]


def scoped_actions(catalog: Catalog) -> list[str]:
    """Return the actions that an API key can be used for."""
    called = [each.title for each in catalog if not each.in_api]
    return [*called, READ_FILES, WRITE_FILES]


class Permissions:
    """Decides what users may do, in one process."""

    def __init__(self, policy: Policy, catalog: Catalog, credentials: CredentialStore) -> None:
        """Raise InvalidSettings if the policy does not fit the actions of the catalog."""
        check_policy(policy, catalog)
        if policy.has_approvals:
            _ = catalog.digest  # of the files that were just loaded: they may change later
        self.policy = policy
        self._credentials = credentials
        self._actions = list(catalog)
        self._read_only = _read_only_titles(self._actions)
        self._groups: dict[str, list[str] | None] = {}

    async def decide(
        self, action: str, identity: Identity, credential: str, scope: Scope | None
    ) -> Decision:
        """Decide on `operator:action` for the user of a login, or of an API key with a scope."""
        if scope is not None and (reason := self._outside(scope, action)):
            return Decision(False, "scope", reason)
        return self.policy.decide(action, identity, await self.groups_of(credential))

    def visible_actions(self, scope: Scope | None) -> list[tuple[str, str]] | None:
        """Return operator and name of the actions whose tasks may be seen; None for all."""
        if scope is None or "*" in scope.actions:
            return None
        covered = {(each.operator, each.name) for each in self._actions if scope.covers(each.title)}
        return sorted(covered)

    def _outside(self, scope: Scope, action: str) -> str | None:
        """Return why an action is outside of the scope; None if it is inside."""
        if not scope.covers(action):
            return f"this API key is limited to {', '.join(scope.actions)}, not {action}"
        if scope.read_only and action not in self._read_only:
            return f"this API key is read-only, and {action} may change something"
        return None

    async def groups_of(self, credential: str) -> list[str] | None:
        """Return the groups at login, which stay those of the credential; None if unknown."""
        if not self.policy.asks_groups:
            return None
        if credential not in self._groups:
            if len(self._groups) >= MAX_CACHED_LOGINS:
                self._groups.clear()
            found = await asyncio.to_thread(self._credentials.groups, credential)
            self._groups[credential] = found
        return self._groups[credential]


def _read_only_titles(actions: Iterable[Action]) -> set[str]:
    """Return the actions that only read: they declare `share_for`."""
    listed = list(actions)
    writing = {each.title for each in listed if each.share_for is None}
    return {each.title for each in listed} - writing | {READ_FILES}
