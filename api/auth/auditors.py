"""Auditors: users who may read the audit log and the masked records of other users' tasks."""

from __future__ import annotations

from api.http.request_context import Caller
from api.state.services import Services
from resop.errors import InvalidOptions, NotPermitted
from resop.security.identity import Identity


def is_auditor(services: Services, caller: Caller) -> bool:
    """Return True if the caller is one of AUDITORS, and shows no API key for some actions only."""
    token = caller.token
    everything = token.scope is None or "*" in token.scope.actions
    return everything and token.identity in services.access.auditors


def require_auditor(services: Services, caller: Caller) -> None:
    """Raise NotPermitted unless the caller is an auditor."""
    if not is_auditor(services, caller):
        raise NotPermitted("only auditors of this service may read this")


def parse_user(services: Services, text: str) -> Identity:
    """Read `name@cluster`; a single cluster need not be named.

    Raises InvalidOptions for an unknown cluster.
    """
    clusters = list(services.settings.clusters())
    identity = Identity.parse(text)
    if identity is not None and identity.cluster in clusters:
        return identity
    if len(clusters) == 1:
        return Identity(text, clusters[0])
    raise InvalidOptions.of("user", f"must be NAME@CLUSTER; there is {', '.join(clusters)}")
