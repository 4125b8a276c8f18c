"""The stores of the unit tests."""

from tests.unit.conftest import database, task_store

__all__ = ["database", "task_store"]
