from collections.abc import Iterator
from pathlib import Path

import pytest

from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore


@pytest.fixture(autouse=True)
def _predictable_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what is random or slow in operations by the values that scenarios expect."""
    monkeypatch.setattr("operators.slurm.listings.separator", lambda: "~")
    monkeypatch.setattr("operators.slurm.operations.job.ACCOUNTING_DELAYS", (0, 0, 0))
    monkeypatch.setattr("operators.slurm.operations.remove_user.POLL_INTERVAL", 0)
    monkeypatch.setattr("operators.slurm.job_outcome.ACCOUNTING_DELAYS", (0, 0))
    monkeypatch.setattr("operators.slurm.operations.wait.FIRST_DELAY", 0)
    monkeypatch.setattr("operators.slurm.operations.cancel.POLL_DELAYS", (0, 0))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    opened = Database(f"sqlite:///{tmp_path}/resop.db")
    opened.create_tables()
    yield opened
    opened.close()


@pytest.fixture
def task_store(database: Database) -> TaskStore:
    return TaskStore(database)


@pytest.fixture
def key_store(database: Database) -> IdempotencyKeyStore:
    return IdempotencyKeyStore(database)


@pytest.fixture
def credential_store(database: Database) -> CredentialStore:
    return CredentialStore(database)


@pytest.fixture
def worker_store(database: Database) -> WorkerStore:
    return WorkerStore(database)
