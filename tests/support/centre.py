"""The service in front of the testbed, set up as an HPC centre would, and callers of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from testbed.site import Site
from tests.support.service import Caller, Embedded
from tests.support.services import HOST


def settings(site: Site) -> dict[str, object]:
    """config.env for a testbed, with what the operators need to know of it."""
    return {
        "CLUSTER_NAME": "testbed",
        "CLUSTER_ADDRESS": site.ssh.host,
        "CLUSTER_SSH_PORT": site.ssh.port,
        "KNOWN_HOSTS": site.ssh.known_hosts,
        "ADMINISTRATORS": site.admin.name,
        "LDAP_URI": site.ldap.uri,
        "LDAP_BIND_DN": site.ldap.bind_dn,
        "LDAP_BIND_PASSWORD": site.ldap.password,
        "LDAP_PEOPLE": site.ldap.people,
        "LDAP_GROUPS": site.ldap.groups,
        "LDAP_FIRST_UID": site.ldap.first_free_uid,
        "LDAP_FIRST_GID": site.ldap.gid + 1000,
        "LDAP_GID": site.ldap.gid,
        "PORTAL_HOST": site.postgresql.host,
        "PORTAL_PORT": site.postgresql.port,
        "PORTAL_DATABASE": site.postgresql.name,
        "PORTAL_USER": site.postgresql.user,
        "PORTAL_PASSWORD": site.postgresql.password,
    }


@contextlib.contextmanager
def service(site: Site, **further: object) -> Iterator[Embedded]:
    """`resop up` with these settings."""
    with (
        TemporaryDirectory(prefix="resop-", dir="/tmp") as folder,
        Embedded(Path(folder), {**settings(site), **further}) as started,
    ):
        yield started


@contextlib.contextmanager
def logged_in(service: Embedded, username: str, password: str) -> Iterator[Caller]:
    """Somebody who logged in with a password."""
    address = f"http://{HOST}:{service.ports[0]}"
    with contextlib.closing(Caller(address)) as nobody:
        answer = nobody.login(username, password)
    assert answer.status_code == 200, answer.text
    with contextlib.closing(Caller(address, answer.json()["output"]["token"])) as caller:
        yield caller


def output(caller: Caller, action: str, **options: Any) -> Any:
    """What an action answers that has to succeed."""
    answer = caller.post(action, options)
    assert answer.status_code == 200, answer.text
    return answer.json()["output"]
