from collections.abc import Iterator
from pathlib import Path

import pytest

from resop.storage.tasks import Records


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
def records(tmp_path: Path) -> Iterator[Records]:
    """An empty record of its own."""
    opened = Records(f"sqlite:///{tmp_path}/resop.db")
    opened.create_tables()
    yield opened
    opened.close()
