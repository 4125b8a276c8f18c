"""The stores of the unit tests, and a MariaDB server."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import need
from tests.support.services import MariaDB, reason_unavailable
from tests.unit.conftest import database, task_store

__all__ = ["database", "server", "task_store"]


@pytest.fixture(scope="session")
def server() -> Iterator[MariaDB]:
    """Start a server that writes a binary log, as one with replicas does."""
    need(reason_unavailable())
    with tempfile.TemporaryDirectory(prefix="resop-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with MariaDB(Path(folder) / "db", "--log-bin=bin", "--binlog-format=MIXED") as started:
            yield started
