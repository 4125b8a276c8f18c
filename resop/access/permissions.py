"""Asks the policy about a user's actions, with the groups that the login has noted.

The API asks before it enqueues, the worker again before it runs: a task that waited for days, or
came from an API process with another file, is held to what holds now.
"""

from __future__ import annotations

import asyncio

from resop.actions.catalog import Catalog
from resop.actions.operation import Operation
from resop.config.policy import Decision, Policy
from resop.storage.credentials import CredentialStore

MAX_CACHED_LOGINS = 10_000
READ_FILES, WRITE_FILES = "files:read", "files:write"
"""What is asked for at /files and /folders; a file that is written there may be run at a login."""


def governed_actions(catalog: Catalog) -> list[str]:
    """The actions that a policy is about: all but login and logout, which say who somebody is."""
    called = [each.title for each in catalog if not (isinstance(each, Operation) and each.in_api)]
    return [*called, READ_FILES, WRITE_FILES]


class Permissions:
    """What the users of one process may do."""

    def __init__(self, policy: Policy, catalog: Catalog, credentials: CredentialStore) -> None:
        """Raise InvalidSettings where the policy names what is not in the catalog."""
        policy.check_names(governed_actions(catalog))
        self.policy = policy
        self._credentials = credentials
        self._groups: dict[str, list[str] | None] = {}

    async def decide(self, action: str, username: str, credential: str) -> Decision:
        """What holds for `operator:action` and the user of that login."""
        groups = await self._groups_of(credential) if self.policy.asks_groups else None
        return self.policy.decide(action, username, groups)

    async def _groups_of(self, credential: str) -> list[str] | None:
        """Those at the login: they are those of the credential for all its time."""
        if credential not in self._groups:
            if len(self._groups) >= MAX_CACHED_LOGINS:
                self._groups.clear()
            found = await asyncio.to_thread(self._credentials.groups, credential)
            self._groups[credential] = found
        return self._groups[credential]
