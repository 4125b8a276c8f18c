"""Operations as the unit tests know them: predictable."""

from tests.unit.conftest import _predictable_operations

__all__ = ["_predictable_operations"]
