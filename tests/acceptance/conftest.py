"""The site of the acceptance tests: a real OpenSSH server, and the real service beside it in both
profiles. Tests that take `service` run on each."""

import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

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
        ("walter", "/bin/bash"),  # he forgets his password
    ]
}

POLICY = """\
default: allow
settings:
  LDAP_PEOPLE: hpccenter
rules:
  - deny: core:run
    users: alice
  - deny: core:script
    groups: [tina, bob]
  - allow: utils:echo
    users: bob
    rate: 3
  - deny: files:write
    users: bob
"""


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short path (unix sockets stand in it) that other accounts can enter."""
    made = Path(tempfile.mkdtemp(prefix="resop-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session", autouse=True)
def begun(request: pytest.FixtureRequest, folder: Path) -> Iterator[dict[str, Any]]:
    """What the chosen test modules do in the background: `begin(folder, pool)` of each, by name.

    Services that start, end or refuse to: a third of all the time, and nobody has to wait for it.
    """
    modules = {each.module for each in request.session.items if isinstance(each, pytest.Function)}
    pool = ThreadPoolExecutor(1)  # one: the tests in the foreground keep a core to themselves
    try:
        yield {m.__name__: m.begin(folder, pool) for m in modules if hasattr(m, "begin")}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def ssh(folder: Path) -> Iterator[OpenSSH]:
    """The login node."""
    need(no_openssh())
    for account in ACCOUNTS.values():
        need(None if Path(account.shell).exists() else f"{account.shell} is missing")
    with OpenSSH(folder / "ssh", list(ACCOUNTS.values())) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(folder: Path) -> Iterator[MariaDB]:
    """A database server for every service on many machines."""
    need(no_servers())
    with MariaDB(folder / "mariadb") as server:
        yield server


@pytest.fixture(scope="session")
def operators(folder: Path) -> Path:
    """A site's operators, outside the tree."""
    return shutil.copytree(Path(__file__).parent / "operators", folder / "operators")


@pytest.fixture(scope="session", params=["embedded", "distributed"])
def service(
    request: pytest.FixtureRequest, folder: Path, ssh: OpenSSH, operators: Path
) -> Iterator[Service]:
    """The service, on one machine and on many."""
    settings = {
        **cluster_settings(ssh),
        "OPERATORS_PATH": operators,
        "TRUSTED_PROXIES": "127.0.0.1",
    }
    started: Service
    if request.param == "embedded":
        started = Embedded(folder / "embedded", settings)
    else:
        mariadb: MariaDB = request.getfixturevalue("mariadb")
        started = Distributed(folder / "distributed", settings, mariadb.database("distributed"))
    with started:
        yield started
    # Not one of all those requests may have met a fault of ours that nobody has caught.
    assert not re.search(r"^Traceback", started.log(), re.MULTILINE)


@pytest.fixture(scope="session")
def guarded(folder: Path, ssh: OpenSSH, mariadb: MariaDB) -> Iterator[Distributed]:
    """A service on many machines, with all that guards it; no worker serves the cluster `idle`."""
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
    database = limited(folder / "owner", mariadb, "guarded")
    worker = (*RESOP, "worker", "hpc")
    with Distributed(folder / "guarded", settings, database, worker) as started:
        yield started
    assert not re.search(r"^Traceback", started.log(), re.MULTILINE)


def limited(folder: Path, mariadb: MariaDB, name: str) -> str:
    """A database whose tables are made by its owner (its config.env is in `folder`).

    Returns the address for another user, who has the rights that docs/security.md gives.
    """
    owner = mariadb.database(name)
    write_config(folder, {"DATABASE_URL": owner, "DATA_DIR": folder / "data"})
    made = run_resop(folder, "tables")
    assert made.returncode == 0, made.stderr
    told = (ROOT / "docs" / "security.md").read_text()
    grants = re.findall(r"^    (GRANT .* ON resop\..* TO resop@'%';)$", told, re.MULTILINE)
    with mariadb.administrator() as cursor:
        for host in (HOST, "localhost"):
            user = f"`{name}_service`@`{host}`"
            cursor.execute(f"CREATE USER {user} IDENTIFIED BY 'pw-{name}'")
            for grant in grants:
                cursor.execute(grant.replace("resop.", f"{name}.").replace("resop@'%'", user))
    return owner.replace(f"//{name}:", f"//{name}_service:")


# For what is the same code in both profiles.
only_embedded = pytest.mark.parametrize("service", ["embedded"], indirect=True)
only_distributed = pytest.mark.parametrize("service", ["distributed"], indirect=True)


@pytest.fixture(scope="session")
def alice(service: Service) -> Caller:
    """Alice, logged in."""
    return service.log_in(ACCOUNTS["alice"])


@pytest.fixture(scope="session")
def bob(service: Service) -> Caller:
    """Bob, logged in."""
    return service.log_in(ACCOUNTS["bob"])
