from collections.abc import Iterator
from pathlib import Path

import pytest

from resop.storage.tasks import Records


@pytest.fixture(autouse=True)
def _told_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is random or slow in an operation, as scenarios know it."""
    monkeypatch.setattr("operators.slurm.listings.separator", lambda: "~")
    monkeypatch.setattr("operators.slurm.operations.job.PAUSES", (0, 0, 0))
    monkeypatch.setattr("operators.slurm.operations.remove_user.PAUSE", 0)
    monkeypatch.setattr("operators.slurm.job_outcome.PAUSES", (0, 0, 0))
    monkeypatch.setattr("operators.slurm.operations.wait.FIRST_PAUSE", 0)
    monkeypatch.setattr("operators.slurm.operations.cancel.PAUSES", (0, 0))


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    """An empty record of its own."""
    opened = Records(f"sqlite:///{tmp_path}/resop.db")
    opened.create_tables()
    yield opened
    opened.close()
