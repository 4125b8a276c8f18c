"""How `pytest -n` divides the tests: what shares a site or a module's fixtures stays together."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_ONE_SITE = ("acceptance", "testbed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the group of each test: its folder where that has one site for all, else its module."""
    for item in items:
        folder, *rest = item.path.relative_to(_HERE).parts
        group = folder if folder in _ONE_SITE else "/".join([folder, *rest])
        item.add_marker(pytest.mark.xdist_group(group))
