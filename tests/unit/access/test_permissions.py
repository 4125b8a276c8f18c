"""The scope of an API key is asked where the policy is, and before it."""

from pathlib import Path

import pytest

from resop.access.permissions import Permissions
from resop.actions.catalog import load_catalog
from resop.config.policy import OPEN, load_policy
from resop.errors import Forbidden
from resop.security.identity import Identity
from resop.security.scope import Scope
from resop.storage.credentials import CredentialStore

CATALOG = load_catalog()
ADA = Identity("ada", "hpc")


@pytest.fixture
def permissions(credential_store: CredentialStore) -> Permissions:
    return Permissions(OPEN, CATALOG, credential_store)


@pytest.mark.parametrize(
    ("scope", "action", "allowed"),
    [
        (None, "core:run", True),
        (Scope(), "core:run", True),
        (Scope(actions=("slurm:*",)), "slurm:squeue", True),
        (Scope(actions=("slurm:*",)), "core:run", False),
        (Scope(actions=("slurm:*",)), "files:read", False),
        (Scope(actions=("files:read",)), "files:write", False),
        (Scope(read_only=True), "slurm:squeue", True),
        (Scope(read_only=True), "files:read", True),
        (Scope(read_only=True), "files:write", False),
        (Scope(read_only=True), "core:run", False),
        (Scope(read_only=True), "slurm:sbatch", False),
        (Scope(read_only=True), "no:such_action", False),
    ],
)
async def test_scope_limits_actions(
    permissions: Permissions, scope: Scope | None, action: str, allowed: bool
) -> None:
    assert (await permissions.decide(action, ADA, "c1", scope)).allowed is allowed


async def test_scope_allows_nothing_that_the_policy_denies(
    credential_store: CredentialStore, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yml"
    file.write_text("default: allow\nrules: [{deny: core:run}, {deny: 'auth:*', users: bob}]\n")
    permissions = Permissions(load_policy(file), CATALOG, credential_store)
    decision = await permissions.decide("core:run", ADA, "c1", Scope())
    with pytest.raises(Forbidden, match=r"policy.yml:2: denies core:run"):
        decision.enforce()
    for user, allowed in (("ada", True), ("bob", False)):
        made = await permissions.decide("auth:create_api_key", Identity(user, "hpc"), "c1", None)
        assert made.allowed is allowed


async def test_refusal_names_the_scope(permissions: Permissions) -> None:
    decision = await permissions.decide("core:run", ADA, "c1", Scope(actions=("slurm:*",)))
    with pytest.raises(Forbidden) as caught:
        decision.enforce()
    assert caught.value.message == "scope: this API key is limited to slurm:*, not core:run"
    assert caught.value.details["rule"] == "scope"


def test_only_tasks_of_covered_actions_are_visible(permissions: Permissions) -> None:
    assert permissions.visible_actions(None) is permissions.visible_actions(Scope()) is None
    assert permissions.visible_actions(Scope(actions=("core:run", "no:such"))) == [("core", "run")]
    assert permissions.visible_actions(Scope(actions=("files:read",))) == []
