"""The worker runs a task that needs approval only as it was approved, by a user who still may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resop.access.approval_digests import batch_digest, decision_signature, task_digest
from resop.access.permissions import Permissions
from resop.actions.catalog import load_catalog
from resop.config.policy import OPEN, Policy, load_policy
from resop.errors import ApprovalOutdated, ApprovalRequired
from resop.security.encryption import Encryptor
from resop.security.identity import Identity
from resop.storage.approvals import ApprovalStore
from resop.storage.audit_chain import AuditChain
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.login_ends import LoginEnds
from resop.storage.models import Approval, ApprovalState, BlockedUser, ClaimedTask, Task
from resop.storage.tasks import NewTask, TaskStore
from tests.support.approvals import decided, entry_of, log_in, request_for, waiting_task
from tests.support.audit import KEY, tamper
from worker.approval_check import ApprovalCheck

SECRET = b"the key of a test, long enough: 0123456789abcdef"
CATALOG = load_catalog()
POLICY = """\
default: deny
rules:
  - allow: utils:echo
    approval: {users: [carol, ada, alias], groups: leads}
"""
OPTIONS = {"input": ["x"]}
ACTION = CATALOG.action("utils", "cmd", "echo")


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    file = tmp_path / "policy.yml"
    file.write_text(POLICY)
    return load_policy(file, ["tango"])


class Site:
    """A database with a task of ada that carol has approved, and a worker that checks it."""

    def __init__(self, database: Database, policy: Policy) -> None:
        self.database, self.policy = database, policy
        self.encryptor = Encryptor(SECRET)
        self.credentials = CredentialStore(database)
        self.catalog: Any = CATALOG
        for name, uid, groups in [
            ("ada", 1, []),
            ("alias", 1, []),
            ("carol", 2, []),
            ("dan", 3, ["leads"]),
            ("eve", 4, ["users"]),
        ]:
            log_in(self.credentials, name, uid=uid, remote_groups=groups)
        self.task = waiting_task(options=OPTIONS)
        digest = task_digest(self.encryptor, CATALOG, ACTION, Identity("ada", "tango"), OPTIONS)
        self.payload: dict[str, Any] = {
            "options": OPTIONS,
            "key_share": "00",
            "approval": {"id": self.task.approval, "digest": digest},
        }
        self.approval = request_for(self.task, digest=digest, uid=1)
        TaskStore(database).add_all([NewTask(self.task, approval=self.approval)])

    def approve(self, by: str = "carol", state: ApprovalState = ApprovalState.APPROVED) -> Approval:
        made = decided(self.approval, state, by)
        made.signature = decision_signature(self.encryptor, made)
        store = ApprovalStore(self.database, AuditChain(KEY, "api"))
        assert store.decide(made, entry_of(made))
        return made

    async def check(self, **values: Any) -> None:
        """Check the task as a worker does that has claimed it."""
        columns = {name: getattr(self.task, name) for name in ClaimedTask.__slots__}
        permissions = Permissions(self.policy, CATALOG, self.credentials)
        checker = ApprovalCheck(
            ApprovalStore(self.database),
            self.credentials,
            permissions,
            self.encryptor,
            self.catalog,
        )
        requester = Identity("ada", "tango")
        decision = await permissions.decide("utils:echo", requester, "ada's login", None)
        await checker.check(ClaimedTask(**columns | values), self.payload, decision)


@pytest.fixture
def site(database: Database, policy: Policy) -> Site:
    return Site(database, policy)


@pytest.mark.parametrize("by", ["carol", "dan"])
async def test_approved_task_runs(site: Site, by: str) -> None:
    site.approve(by)
    await site.check()
    site.policy = OPEN
    await site.check()
    await site.check(resume_count=1)


def without_approval(site: Site) -> None:
    """Leave the request undecided."""


def refused(site: Site) -> None:
    made = decided(site.approval, ApprovalState.REFUSED)
    tamper(
        site.database,
        "UPDATE approval SET state = 'refused', signature = :signature",
        signature=made.signature,
    )


def forged(site: Site) -> None:
    tamper(
        site.database,
        "UPDATE approval SET state = 'approved', decided_by = 'carol', decided_on = 'tango', "
        "decided_with = 'carol''s login', decided_at = '2026-01-01 00:00:00.000000', "
        "signature = :signature",
        signature="0" * 64,
    )


def renamed(site: Site) -> None:
    site.approve("eve")
    tamper(site.database, "UPDATE approval SET decided_by = 'carol'")


def deleted(site: Site) -> None:
    site.approve()
    tamper(site.database, "DELETE FROM approval")


def moved(site: Site) -> None:
    site.approve()
    site.task = Task(**site.task.model_dump() | {"id": "another"})


def moved_to_a_batch(site: Site) -> None:
    site.approve()
    site.task = Task(**site.task.model_dump() | {"batch": "approved batch"})


def by_a_stranger(site: Site) -> None:
    site.approve("eve")


def by_the_requester(site: Site) -> None:
    site.approve("ada")


def by_an_alias_of_the_requester(site: Site) -> None:
    site.approve("alias")


def by_a_user_who_was_blocked_since(site: Site) -> None:
    site.approve()
    LoginEnds(site.database).block(
        BlockedUser(username="carol", cluster="tango", reason="left", blocked_by="root")
    )


def asked_through_an_api_without_policy(site: Site) -> None:
    del site.payload["approval"]


@pytest.mark.parametrize(
    "change",
    [
        *(without_approval, refused, forged, renamed, deleted, moved, moved_to_a_batch),
        *(by_a_stranger, by_the_requester, by_an_alias_of_the_requester),
        *(by_a_user_who_was_blocked_since, asked_through_an_api_without_policy),
    ],
)
async def test_task_without_a_valid_approval_is_refused(
    site: Site, change: Callable[[Site], None]
) -> None:
    change(site)
    with pytest.raises(ApprovalRequired):
        await site.check()


async def test_even_a_resumed_task_needs_an_approval_that_this_service_made(site: Site) -> None:
    forged(site)
    with pytest.raises(ApprovalRequired):
        await site.check(resume_count=1)


def other_options(site: Site) -> None:
    site.payload["options"] = {"input": ["y"]}


def other_catalog(site: Site) -> None:
    site.catalog = SimpleNamespace(digest="another", action=CATALOG.action)


def other_user(site: Site) -> None:
    site.task = Task(**site.task.model_dump() | {"username": "bob"})


@pytest.mark.parametrize("change", [other_options, other_catalog, other_user])
async def test_task_that_is_not_what_was_approved_is_refused(
    site: Site, change: Callable[[Site], None]
) -> None:
    site.approve()
    change(site)
    with pytest.raises(ApprovalOutdated):
        await site.check()


async def test_digests_and_seals_survive_a_change_of_the_key(site: Site) -> None:
    site.approve()
    site.encryptor = Encryptor(b"n" * 48, SECRET)
    await site.check()
    site.encryptor = Encryptor(b"n" * 48)
    with pytest.raises(ApprovalRequired):
        await site.check()


def test_digest_of_a_batch_depends_on_every_item_and_the_order() -> None:
    encryptor = Encryptor(SECRET)
    assert batch_digest(encryptor, ["a", "b"]) == batch_digest(encryptor, ["a", "b"])
    made = {batch_digest(encryptor, each) for each in (["a", "b"], ["b", "a"], ["a"], ["a", "bb"])}
    assert len(made) == 4
