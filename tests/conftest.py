"""Make `pytest -n` run tests that share a site, or a module's fixtures, in one process."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_SITE_FIXTURES = ("service", "guarded", "background")
"""Fixtures that the acceptance tests share: one session of pytest has one of each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign each test to a group: its folder if it shares that folder's site, else its module."""
    sharing = {item.path for item in items if _shares_site(item)}
    for item in items:
        folder, *rest = item.path.relative_to(_HERE).parts
        group = folder if item.path in sharing else "/".join([folder, *rest])
        item.add_marker(pytest.mark.xdist_group(group))


def _shares_site(item: pytest.Item) -> bool:
    folder = item.path.relative_to(_HERE).parts[0]
    if folder != "acceptance" or not isinstance(item, pytest.Function):
        return folder == "testbed"
    own = vars(item.module)
    return any(name in item.fixturenames and name not in own for name in _SITE_FIXTURES)
