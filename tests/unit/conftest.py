"""Fixtures of the unit tests, which start no process and open no connection."""

import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from resop.clock import CLOCK, Clock
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.tasks import TaskStore
from resop.storage.workers import WorkerStore

_IMPURE = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec", "os.system"} | {
    "socket.bind",
    "socket.connect",
}
"""Audit events of Python that no unit test may cause."""
_running = False


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if _running and event in _IMPURE:
        raise AssertionError(f"{event} in a unit test: move the test to tests/integration")


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Refuse processes and connections while a unit test runs."""
    global _running
    _running = True
    try:
        return (yield)
    finally:
        _running = False


@pytest.fixture(autouse=True, scope="session")
def _machine_clock() -> Iterator[None]:
    """Use the machine's clock: another test of this process may have set that of a database."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in vars(Clock()).items():
            patch.setattr(CLOCK, name, value)
        yield


@pytest.fixture(autouse=True, scope="session")
def _predictable_operations() -> Iterator[None]:
    """Replace what is random or slow in operations by the values that scenarios expect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("operators.slurm.listings.separator", lambda: "~")
        patch.setattr("operators.slurm.operations.job.ACCOUNTING_DELAYS", (0, 0, 0))
        patch.setattr("operators.slurm.operations.remove_user.POLL_INTERVAL", 0)
        patch.setattr("operators.slurm.jobs.job_outcome.ACCOUNTING_DELAYS", (0, 0))
        patch.setattr("operators.slurm.jobs.job_selection.POLL_DELAYS", (0, 0))
        patch.setattr("operators.slurm.arrays.array_members.ACCOUNTING_DELAYS", (0, 0))
        yield


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Create an empty database."""
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
