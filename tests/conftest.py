"""Make `pytest -n` run tests that share a site, or a module's fixtures, in one process."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_FOLDERS_WITH_ONE_SITE = ("acceptance", "testbed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign each test to a group: its folder if that shares one site, else its module."""
    for item in items:
        folder, *rest = item.path.relative_to(_HERE).parts
        group = folder if folder in _FOLDERS_WITH_ONE_SITE else "/".join([folder, *rest])
        item.add_marker(pytest.mark.xdist_group(group))
