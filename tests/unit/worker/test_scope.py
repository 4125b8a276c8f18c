"""The worker asks for the scope of an API key again: an API process may have been deceived."""

from types import SimpleNamespace
from typing import Any

import pytest

from resop.access.permissions import Permissions
from resop.actions.catalog import load_catalog
from resop.config.policy import OPEN
from resop.errors import Forbidden, ResopError
from resop.security.encryption import Encryptor
from resop.security.scope import Scope
from resop.storage.credentials import CredentialStore
from resop.storage.models import ClaimedTask
from worker.approval_check import ApprovalCheck
from worker.engine import TaskOpener, TaskRunner

CATALOG = load_catalog()
KEY = b"the key of a test, long enough: 0123456789abcdef"


class NoSessions:
    """Opens no session: what asks for one was not refused."""

    def session(self, *_: str) -> Any:
        raise ResopError("a session was asked for")


def task(encryptor: Encryptor, scope: Scope | None) -> ClaimedTask:
    payload: dict[str, Any] = {"options": {"command": "id"}, "key_share": "00"}
    if scope is not None:
        payload["scope"] = scope.as_json()
    return ClaimedTask(
        *("t1", "operation", "core", "run", "ada", "hpc", "c1", ""),
        encryptor.encrypt(payload, "t1"),
        *(9.0, None, [], None, None, None, None, None),
    )


@pytest.mark.parametrize(
    ("scope", "refused"),
    [
        (None, False),
        (Scope(), False),
        (Scope(actions=("slurm:*",)), True),
        (Scope(read_only=True), True),
    ],
)
async def test_worker_refuses_a_task_outside_of_the_scope_in_its_payload(
    credential_store: CredentialStore,
    monkeypatch: pytest.MonkeyPatch,
    scope: Scope | None,
    refused: bool,
) -> None:
    encryptor = Encryptor(KEY)
    opener = TaskOpener(encryptor, CATALOG, NoSessions(), None)  # type: ignore[arg-type]
    permissions = Permissions(OPEN, CATALOG, credential_store)
    nothing: Any = None
    runner = TaskRunner(
        *("w1", opener, permissions, nothing, nothing, nothing, nothing, nothing, 1),
        approval_check=ApprovalCheck(*[nothing] * 5),
        on_batch_task_end=lambda: None,
        audit=SimpleNamespace(count=lambda *_: None),  # type: ignore[arg-type]
    )
    ends: list[Any] = []

    async def record(task: Any, opened: Any, outcome: Any, began: float) -> None:
        ends.append(outcome.error)

    monkeypatch.setattr(runner, "_record_end", record)
    await runner.run(task(encryptor, scope))
    [error] = ends
    assert isinstance(error, Forbidden) is refused
    assert refused or error.message == "a session was asked for"
