"""One testbed, one service in front of it, and its logged-in users, for all tests."""

from collections.abc import Iterator

import pytest

from tests.support import testbed
from tests.support.centre import logged_in, service
from tests.support.needs import need
from tests.support.service import Caller, Embedded
from tests.support.testbed import Testbed


@pytest.fixture(scope="session")
def bed() -> Iterator[Testbed]:
    need(testbed.reason_unavailable())
    with testbed.shared() as started:
        yield started


@pytest.fixture(scope="session")
def running(bed: Testbed) -> Iterator[Embedded]:
    with service(bed.site) as started:
        yield started


@pytest.fixture(scope="session")
def alice(running: Embedded, bed: Testbed) -> Iterator[Caller]:
    user = bed.site.users[0]
    with logged_in(running, user.name, user.password) as caller:
        yield caller


@pytest.fixture(scope="session")
def bob(running: Embedded, bed: Testbed) -> Iterator[Caller]:
    user = bed.site.users[1]
    with logged_in(running, user.name, user.password) as caller:
        yield caller


@pytest.fixture(scope="session")
def admin(running: Embedded, bed: Testbed) -> Iterator[Caller]:
    with logged_in(running, bed.site.admin.name, bed.site.admin.password) as caller:
        yield caller


@pytest.fixture(scope="module", autouse=True)
def _no_jobs_are_left(bed: Testbed) -> Iterator[None]:
    yield
    bed.machine.run(["scancel", "--user", bed.site.users[0].name])
