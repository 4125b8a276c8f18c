import pytest


@pytest.fixture(autouse=True)
def _told_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is random or slow in an operation, as scenarios know it."""
    monkeypatch.setattr("operators.slurm.table.separator", lambda: "~")
    monkeypatch.setattr("operators.slurm.operations.job.PAUSES", (0, 0, 0))
    monkeypatch.setattr("operators.slurm.operations.remove_user.PAUSE", 0)
    monkeypatch.setattr("operators.slurm.ending.PAUSES", (0, 0, 0))
    monkeypatch.setattr("operators.slurm.operations.wait.FIRST_PAUSE", 0)
    monkeypatch.setattr("operators.slurm.operations.cancel.PAUSES", (0, 0))
