"""Fixtures of the acceptance tests: a real OpenSSH server, and the real service in both profiles.

Tests that use the fixture `service` run once for each profile.
"""

import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.migration_page import write_operation
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH
from tests.support.openssh import reason_unavailable as no_openssh
from tests.support.ports import HOST
from tests.support.service import (
    RESOP,
    Caller,
    Distributed,
    Embedded,
    Service,
    cluster_settings,
    run_resop,
    write_config,
)
from tests.support.services import ROOT, MariaDB
from tests.support.services import reason_unavailable as no_servers

ACCOUNTS = {
    name: Account(name, f"{name}'s {secrets.token_hex(8)}", shell)
    for name, shell in [
        ("alice", "/bin/bash"),
        ("bob", "/bin/bash"),
        ("tina", "/usr/bin/tcsh"),
        ("fiona", "/usr/bin/fish"),
        ("walter", "/bin/bash"),  # his tests use wrong passwords
    ]
}

SLURM_BIN = "/home/bob/no PATH/bin"
"""Where the site's Slurm is; bob's tests put other programs there."""

POLICY = """\
default: allow
settings:
  LDAP_PEOPLE: hpccenter
rules:
  - deny: core:run
    users: alice@hpc
  - deny: core:script
    groups: [tina@hpc, bob@hpc]
  - allow: utils:echo
    users: bob@hpc
    rate: 3
  - deny: files:write
    users: bob@hpc
  - deny: auth:create_api_key
    users: alice@hpc
"""


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Make a folder that other accounts can enter, with a short path for its Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="resop-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def background(request: pytest.FixtureRequest, folder: Path) -> Iterator[dict[str, Any]]:
    """Call each selected module's `begin_in_background`; return the results by module.

    It gets the folder and a pool with one thread. These are services that start, stop or refuse to
    start. They take a third of the total time, during which the other tests run.
    """
    modules = {each.module for each in request.session.items if isinstance(each, pytest.Function)}
    pool = ThreadPoolExecutor(1)  # only one, which leaves a core to the tests in the foreground
    try:
        yield {
            m.__name__: m.begin_in_background(folder, pool)
            for m in modules
            if hasattr(m, "begin_in_background")
        }
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def ssh(folder: Path) -> Iterator[OpenSSH]:
    """Start the login node."""
    need(no_openssh())
    for account in ACCOUNTS.values():
        need(None if Path(account.shell).exists() else f"{account.shell} is missing")
    with OpenSSH(folder / "ssh", list(ACCOUNTS.values())) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(folder: Path) -> Iterator[MariaDB]:
    """Start the database server of all distributed services."""
    need(no_servers())
    with MariaDB(folder / "mariadb") as server:
        yield server


@pytest.fixture(scope="session")
def operators(folder: Path) -> Path:
    """Copy a site's operators to a folder outside the source tree."""
    copied = shutil.copytree(Path(__file__).parent / "operators", folder / "operators")
    write_operation(copied)
    return copied


@pytest.fixture(scope="session", params=["embedded", "distributed"])
def service(
    request: pytest.FixtureRequest,
    folder: Path,
    ssh: OpenSSH,
    operators: Path,
    background: dict[str, Any],
) -> Iterator[Service]:
    """Start the service, once on one machine and once distributed; the background runs beside."""
    settings = {
        **cluster_settings(ssh),
        "OPERATORS_PATH": operators,
        "TRUSTED_PROXIES": "127.0.0.1",
        "STREAMS_PER_USER": 100,  # a test watches one task this often
        "SLURM_BIN": SLURM_BIN,
    }
    started: Service
    if request.param == "embedded":
        started = Embedded(folder / "embedded", settings)
    else:
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        started = Distributed(folder / "distributed", settings, mariadb.database("distributed"))
    with started:
        yield started
    # None of the requests may have caused an uncaught exception in the service.
    assert not re.search(r"^Traceback", started.log(), re.MULTILINE)


@pytest.fixture(scope="session")
def guarded(folder: Path, ssh: OpenSSH, mariadb: MariaDB) -> Iterator[Distributed]:
    """Start a distributed service with all protections; no worker serves the cluster `idle`."""
    policy, clusters = folder / "policy.yml", folder / "clusters.yml"
    policy.write_text(POLICY)
    clusters.write_text(
        "".join(
            f"- {{name: {name}, address: {ssh.host}, ssh_port: {ssh.port}}}\n"
            for name in ("hpc", "idle")
        )
    )
    settings = {
        "CLUSTERS_FILE": clusters,
        "KNOWN_HOSTS": ssh.known_hosts,
        "POLICY_FILE": policy,
        "LDAP_PEOPLE": "ou=people",
        "QUEUED_TASKS": 2,
        "TRUSTED_PROXIES": "127.0.0.1",
        "CORS_ORIGINS": "https://portal.example, https://other.example",
    }
    database = create_limited_database(folder / "owner", mariadb, "guarded")
    worker = (*RESOP, "worker", "hpc")
    with Distributed(folder / "guarded", settings, database, worker) as started:
        yield started
    assert not re.search(r"^Traceback", started.log(), re.MULTILINE)


def create_limited_database(folder: Path, mariadb: MariaDB, name: str) -> str:
    """Create a database whose owner creates the tables; the owner's config.env is in `folder`.

    Returns DATABASE_URL for another user, with only the rights listed in docs/security.md.
    """
    owner = mariadb.database(name)
    write_config(folder, {"DATABASE_URL": owner, "DATA_DIR": folder / "data"})
    done = run_resop(folder, "tables")
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "security.md").read_text()
    grants = re.findall(r"^    (GRANT .* ON resop\..* TO resop@'%';)$", page, re.MULTILINE)
    with mariadb.administrator() as cursor:
        for host in (HOST, "localhost"):
            user = f"`{name}_service`@`{host}`"
            cursor.execute(f"CREATE USER {user} IDENTIFIED BY 'pw-{name}'")
            for grant in grants:
                cursor.execute(grant.replace("resop.", f"{name}.").replace("resop@'%'", user))
    return owner.replace(f"//{name}:", f"//{name}_service:")


# For tests of code that is the same in both profiles.
only_embedded = pytest.mark.parametrize("service", ["embedded"], indirect=True)
only_distributed = pytest.mark.parametrize("service", ["distributed"], indirect=True)


@pytest.fixture(scope="session")
def alice(service: Service) -> Caller:
    """Log in alice."""
    return service.log_in(ACCOUNTS["alice"])


@pytest.fixture(scope="session")
def bob(service: Service) -> Caller:
    """Log in bob."""
    return service.log_in(ACCOUNTS["bob"])
