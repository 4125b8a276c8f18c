"""docker-compose.yml as the compose client itself reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.site import DEFAULT_PORT, DEFAULT_STATE

ROOT = Path(__file__).parents[3]
SECRETS = {"SECRET_KEY": "a-made-up-key", "MARIADB_PASSWORD": "a-made-up-password"}


def run(argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def compose_client() -> list[str]:
    """Return the command of the classic client, or of docker's plugin."""
    for client in (["docker-compose"], ["docker", "compose"]):
        if shutil.which(client[0]) and run([*client, "version"]).returncode == 0:
            return client
    missing = "there is no compose client here: apt-get install docker-compose"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a folder with the files that compose reads, without an .env."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(ROOT / "docker-compose.yml", folder)
    settings = ROOT / "config.env"
    if settings.exists():
        shutil.copy(settings, folder)
    else:
        (folder / "config.env").write_text("CLUSTER_NAME = 'test'\n")
    return folder


def config(
    client: list[str], project: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    minimal = {"PATH": os.environ["PATH"], "HOME": str(project)}
    return run(
        [*client, "--profile", "testbed", "config"], cwd=project, env={**minimal, **environment}
    )


@pytest.fixture(scope="module")
def services(compose_client: list[str], project: Path) -> dict[str, Any]:
    result = config(compose_client, project, SECRETS)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = yaml.safe_load(result.stdout)["services"]
    return found


def ports(service: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(address, published, target) of each; clients print them in a short and in a long form."""
    found = []
    for port in service.get("ports", []):
        if isinstance(port, str):
            address, published, target = port.split("/")[0].rsplit(":", 2)
        else:
            address, published, target = port.get("host_ip", ""), port["published"], port["target"]
        found.append((address, int(published), int(target)))
    return found


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Source by target."""
    found = {}
    for volume in service["volumes"]:
        if isinstance(volume, str):
            source, target = volume.split(":")[:2]
        else:
            source, target = volume["source"], volume["target"]
        found[target] = source
    return found


def test_api_and_workers_are_one_image_with_one_environment(services: dict[str, Any]) -> None:
    api, workers = services["api"], [services["worker1"], services["worker2"]]
    for worker in workers:
        assert worker["image"] == api["image"]
        assert worker["environment"] == api["environment"]
        assert mounts(worker) == mounts(api)
    assert api["environment"]["SECRET_KEY"] == SECRETS["SECRET_KEY"]
    assert SECRETS["MARIADB_PASSWORD"] in api["environment"]["DATABASE_URL"]


def test_settings_come_from_config_env(compose_client: list[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    (tmp_path / "config.env").write_text("CLUSTER_NAME = 'tango'\nPORT = 1\n")
    result = config(compose_client, tmp_path, SECRETS)
    environment = yaml.safe_load(result.stdout)["services"]["worker1"]["environment"]
    assert environment["CLUSTER_NAME"] == "tango"
    assert environment["PORT"] == "3000", "inside its container the API has a port of its own"


@pytest.mark.parametrize("left_out", SECRETS)
def test_without_a_secret_nothing_starts(
    compose_client: list[str], project: Path, left_out: str
) -> None:
    rest = {name: value for name, value in SECRETS.items() if name != left_out}
    result = config(compose_client, project, rest)
    assert result.returncode != 0
    assert f"set {left_out}" in result.stderr


def test_only_the_api_can_be_reached_from_other_machines(services: dict[str, Any]) -> None:
    published = {name: found for name, service in services.items() if (found := ports(service))}
    assert published == {
        "api": [("", 3000, 3000)],
        "flower": [("127.0.0.1", 5555, 5555)],
        "testbed": [("127.0.0.1", DEFAULT_PORT, 22)],
    }


def test_testbed_starts_on_demand_only_and_stays_up(services: dict[str, Any]) -> None:
    testbed = services["testbed"]
    assert testbed["profiles"] == ["testbed"]
    assert testbed["stdin_open"] is True, "it ends with its standard input"
    assert list(mounts(testbed)) == [str(DEFAULT_STATE)]


def test_testbed_is_built_from_what_is_there(services: dict[str, Any]) -> None:
    dockerfile = ROOT / services["testbed"]["build"]["dockerfile"]
    lines = dockerfile.read_text().splitlines()
    sources = [line.split()[1] for line in lines if line.startswith("COPY ")]
    assert sources
    ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().splitlines()
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    assert f"TCP:127.0.0.1:{DEFAULT_PORT}" in lines[-1]


def test_port_decides_where_the_api_is_published(compose_client: list[str], project: Path) -> None:
    result = config(compose_client, project, {**SECRETS, "PORT": "8080"})
    assert ports(yaml.safe_load(result.stdout)["services"]["api"]) == [("", 8080, 3000)]


def test_redis_runs_on_the_append_only_configuration(services: dict[str, Any]) -> None:
    redis = services["redis"]
    source = Path(mounts(redis)["/etc/redis.conf"])
    assert source.parts[-2:] == ("deploy", "redis.conf")
    assert redis["command"][:2] == ["redis-server", "/etc/redis.conf"]
    assert "appendonly yes" in (ROOT / "deploy/redis.conf").read_text().splitlines()


def test_mariadb_runs_on_the_configuration_of_the_tests(services: dict[str, Any]) -> None:
    source = Path(mounts(services["mariadb"])["/etc/mysql/conf.d/resop.cnf"])
    assert source.parts[-2:] == ("deploy", "mariadb.cnf")
    assert (ROOT / "deploy/mariadb.cnf").exists()
