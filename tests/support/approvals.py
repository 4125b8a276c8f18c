"""Requests for approval as the API writes them, for tests of the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from resop.storage.credentials import CredentialStore
from resop.storage.models import (
    Approval,
    ApprovalState,
    AuditEntry,
    Batch,
    Credential,
    State,
    Task,
    now,
)
from tests.support.audit import audit_entry
from tests.support.ids import next_id
from tests.support.tasks import new_task


def log_in(store: CredentialStore, name: str, cluster: str = "tango", **values: Any) -> str:
    """Add a login of a user, and return its id, `NAME's login`."""
    credential = f"{name}'s login"
    defaults: dict[str, Any] = {
        "encrypted_key": b"KEY",
        "expires_at": now() + timedelta(hours=1),
    }
    whose = {"id": credential, "username": name, "cluster": cluster}
    store.add(Credential(**defaults | whose | values))
    return credential


def waiting_task(**values: Any) -> Task:
    """Return a task of ada that waits for approval."""
    defaults = {"state": State.PENDING_APPROVAL, "credential": "ada's login"}
    return new_task(**defaults | {"approval": next_id()} | values)


def request_for(subject: Task | Batch, **values: Any) -> Approval:
    """Return the request of a task or batch of ada, which expires in an hour."""
    is_batch = isinstance(subject, Batch)
    defaults: dict[str, Any] = {
        "id": subject.approval if isinstance(subject, Task) else next_id(),
        "task": None if is_batch else subject.id,
        "batch": subject.id if is_batch else None,
        **{name: getattr(subject, name) for name in ("kind", "operator", "action")},
        **{name: getattr(subject, name) for name in ("username", "cluster")},
        "credential": "ada's login",
        "rule": "policy.yml:3",
        "digest": "d" * 64,
        "expires_at": now() + timedelta(hours=1),
    }
    return Approval(**defaults | values)


def decided(approval: Approval, state: ApprovalState, by: str = "carol") -> Approval:
    """Return a request as somebody has decided it, with `BY's login`."""
    decision = {"decided_by": by, "decided_on": "tango", "decided_with": f"{by}'s login"}
    values = {"state": state, "decided_at": now(), "signature": "s" * 64, **decision}
    return approval.model_copy(update=values)


def entry_of(approval: Approval) -> AuditEntry:
    """Return the audit entry of a decision."""
    return audit_entry(task=approval.task or approval.batch, path=f"/approvals/{approval.id}")
