"""Ask the policy about a user's actions, with the groups recorded at login.

The API asks before it queues a task, and the worker again before it runs the task: the policy may
have changed while the task was waiting, or the API process may have another file.
"""

from __future__ import annotations

import asyncio

from resop.actions.catalog import Catalog
from resop.config.policy import Decision, Policy
from resop.security.identity import Identity
from resop.storage.credentials import CredentialStore

MAX_CACHED_LOGINS = 10_000
READ_FILES, WRITE_FILES = "files:read", "files:write"
"""The actions of /files and /folders; a file written there may run at the next login."""


def governed_actions(catalog: Catalog) -> list[str]:
    """Return the actions that a policy governs: all but login and logout."""
    called = [each.title for each in catalog if not each.in_api]
    return [*called, READ_FILES, WRITE_FILES]


class Permissions:
    """Decides what users may do, in one process."""

    def __init__(self, policy: Policy, catalog: Catalog, credentials: CredentialStore) -> None:
        """Raise InvalidSettings if the policy names an action that is not in the catalog."""
        policy.check_names(governed_actions(catalog))
        self.policy = policy
        self._credentials = credentials
        self._groups: dict[str, list[str] | None] = {}

    async def decide(self, action: str, identity: Identity, credential: str) -> Decision:
        """Decide on `operator:action` for the user of a login."""
        groups = await self._groups_of(credential) if self.policy.asks_groups else None
        return self.policy.decide(action, identity, groups)

    async def _groups_of(self, credential: str) -> list[str] | None:
        """Return the groups at login, which stay those of the credential."""
        if credential not in self._groups:
            if len(self._groups) >= MAX_CACHED_LOGINS:
                self._groups.clear()
            found = await asyncio.to_thread(self._credentials.groups, credential)
            self._groups[credential] = found
        return self._groups[credential]
