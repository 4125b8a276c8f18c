"""Who may read the audit log and the records of others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from api.auth.auditors import is_auditor
from resop.security.identity import Identity
from resop.security.scope import Scope

SERVICES: Any = SimpleNamespace(
    access=SimpleNamespace(auditors=frozenset([Identity("eve", "main")]))
)


@pytest.mark.parametrize(
    ("identity", "scope", "auditor"),
    [
        (Identity("eve", "main"), None, True),
        (Identity("eve", "other"), None, False),
        (Identity("bob", "main"), None, False),
        (Identity("eve", "main"), Scope(read_only=True), True),
        (Identity("eve", "main"), Scope(actions=("slurm:*",)), False),
        (Identity("bob", "main"), Scope(), False),
    ],
)
def test_auditor_is_a_user_of_a_cluster_without_a_narrower_scope(
    identity: Identity, scope: Scope | None, auditor: bool
) -> None:
    caller: Any = SimpleNamespace(token=SimpleNamespace(identity=identity, scope=scope))
    assert is_auditor(SERVICES, caller) is auditor
