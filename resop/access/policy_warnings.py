"""Warn about a policy that takes the shell away from somebody and leaves another way to it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator

from resop.access.permissions import WRITE_FILES
from resop.actions.catalog import Catalog
from resop.config.policy import Decision, Policy
from resop.security.identity import Identity

log = logging.getLogger(__name__)

SHELL = "core:run"
NOBODY_IN_PARTICULAR = "any-user"
"""Stands for the users whom no rule names."""


def warnings(policy: Policy, catalog: Catalog, clusters: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each cluster where users whom no rule names still get a shell.

    It begins with the setting, as the weaknesses of a configuration do.
    """
    for cluster in clusters:
        found = shell_warning(policy, catalog, Identity(NOBODY_IN_PARTICULAR, cluster), [])
        if found:
            yield f"POLICY_FILE: on {cluster}, {found}"


def log_warnings(policy: Policy, catalog: Catalog, clusters: Iterable[str]) -> None:
    """Write each warning to the log."""
    for warning in warnings(policy, catalog, clusters):
        log.warning("weak configuration: %s", warning)


def shell_warning(
    policy: Policy, catalog: Catalog, identity: Identity, groups: Collection[str]
) -> str | None:
    """Return a warning if the user may run programs, but not freely by `core:run`."""
    shell = policy.decide(SHELL, identity, groups)
    if _is_free(shell):
        return None
    candidates = [*(action.title for action in catalog if action.runs_code), WRITE_FILES]
    allowed = [each for each in candidates if _is_free(policy.decide(each, identity, groups))]
    if not allowed:
        return None
    limit = "needs approval" if shell.allowed else "is denied"
    return (
        f"{SHELL} {limit}, but these allowed actions run programs of the user's choice as well, "
        f"or place files that are run later: {', '.join(sorted(allowed))}"
    )


def _is_free(decision: Decision) -> bool:
    """Return True if the user needs nobody for this."""
    return decision.allowed and decision.approvers is None
