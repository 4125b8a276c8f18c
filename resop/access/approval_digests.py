"""Keyed digests of tasks that need approval, and of the decision about them.

They make sure that exactly the approved task runs, and that the recorded user has approved it:
nobody who writes to the database without SECRET_KEY can make them.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from resop.actions.call import content_digest
from resop.actions.catalog import Action, Catalog
from resop.security.encryption import Encryptor
from resop.security.identity import Identity
from resop.storage.models import Approval

PAYLOAD_KEY = "approval"
"""The key in a task's encrypted payload: the id of its request for approval, and its digest."""


def task_digest(
    encryptor: Encryptor,
    catalog: Catalog,
    action: Action,
    identity: Identity,
    options: Mapping[str, Any],
) -> str:
    """Return the digest of one task: who runs what with which options, as the action is now.

    `options` are those of the task's payload.
    """
    content = content_digest(encryptor, action, options)
    return encryptor.digest("approval", *identity, catalog.digest, content)


def batch_digest(encryptor: Encryptor, digests: Iterable[str]) -> str:
    """Return the digest of a batch, given those of its tasks in their order."""
    return encryptor.digest("approval of a batch", *digests)


def decision_signature(encryptor: Encryptor, approval: Approval) -> str:
    """Return the digest of a decision: who decided what about which request, and when."""
    assert approval.decided_at is not None
    return encryptor.digest(
        "decision",
        *(approval.id, approval.digest, approval.state, approval.decided_by, approval.decided_on),
        *(approval.decided_with, approval.decided_at.isoformat(), approval.reason),
    )


def is_signed(encryptor: Encryptor, approval: Approval) -> bool:
    """Return True if this service has recorded the decision, and nobody has changed it."""
    return approval.decided_at is not None and made_by(
        encryptor, approval.signature, lambda each: decision_signature(each, approval)
    )


def made_by(encryptor: Encryptor, digest: str, make: Callable[[Encryptor], str]) -> bool:
    """Return True if `make` returns this digest with the present SECRET_KEY or the previous one."""
    keys = (encryptor, encryptor.previous)
    return any(hmac.compare_digest(digest, make(each)) for each in keys if each is not None)
