"""The service in front of the testbed, configured as at an HPC centre, and its callers."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from testbed.settings import settings
from testbed.site import SiteDescription
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded


@contextlib.contextmanager
def service(site: SiteDescription, **further: object) -> Iterator[Embedded]:
    """Run `resop up` with the testbed's settings and these additional ones."""
    with (
        TemporaryDirectory(prefix="resop-", dir="/tmp") as folder,
        Embedded(Path(folder), {**settings(site), **further}) as started,
    ):
        yield started


@contextlib.contextmanager
def logged_in(service: Embedded, username: str, password: str) -> Iterator[Caller]:
    """Log in with a password and yield a caller with the token."""
    address = f"http://{HOST}:{service.ports[0]}"
    with contextlib.closing(Caller(address)) as anonymous:
        answer = anonymous.login(username, password)
    assert answer.status_code == 200, answer.text
    with contextlib.closing(Caller(address, answer.json()["output"]["token"])) as caller:
        yield caller


def created(made: dict[str, Any]) -> dict[str, Any]:
    """Return a new user or group as other operations show it."""
    assert made["outcome"] == "created"
    return {name: each for name, each in made.items() if name not in ("outcome", "password")}


def output(caller: Caller, action: str, **options: Any) -> Any:
    """Run an action, which must succeed, and return its output."""
    answer = caller.post(action, options)
    assert answer.status_code == 200, answer.text
    return answer.json()["output"]
