"""docker-compose.yml as the compose client itself reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from resop.config.secret_key import refuse_weak_key
from testbed.site import DEFAULT_PORT, DEFAULT_STATE

ROOT = Path(__file__).parents[3]
SECRETS = {"secret_key", "redis_url", "redis_auth", "database_url", "mariadb_password"}
OWN_SERVICES = ("api", "worker1", "worker2", "redis", "mariadb", "flower")


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
        [*client, "--profile", "testbed", "--profile", "flower", "config"],
        cwd=project,
        env={**minimal, **environment},
    )


@pytest.fixture(scope="module")
def services(compose_client: list[str], project: Path) -> dict[str, Any]:
    result = config(compose_client, project, {})
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
    assert api["environment"]["SECRET_KEY_FILE"] == "/run/secrets/secret_key"
    assert api["environment"]["DATABASE_URL_FILE"] == "/run/secrets/database_url"
    assert api["environment"]["REDIS_URL_FILE"] == "/run/secrets/redis_url"


def test_workers_are_checked_without_commands_through_redis(services: dict[str, Any]) -> None:
    for name in ("worker1", "worker2"):
        assert services[name]["healthcheck"]["test"] == ["CMD", "resop", "health", "worker"]


def test_settings_come_from_config_env(compose_client: list[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    (tmp_path / "config.env").write_text("CLUSTER_NAME = 'tango'\nPORT = 1\n")
    result = config(compose_client, tmp_path, {})
    environment = yaml.safe_load(result.stdout)["services"]["worker1"]["environment"]
    assert environment["CLUSTER_NAME"] == "tango"
    assert environment["PORT"] == "3000", "inside its container the API has a port of its own"


def make_secrets(folder: Path) -> dict[str, str]:
    """Run the script in a copy of its folder; return the secrets by name."""
    (folder / "deploy").mkdir(exist_ok=True)
    shutil.copy(ROOT / "deploy/make-secrets", folder / "deploy")
    done = run([str(folder / "deploy/make-secrets")])
    assert done.returncode == 0, done.stderr
    return {file.name: file.read_text() for file in (folder / "site/secrets").iterdir()}


def test_secrets_are_made_once_and_belong_together(tmp_path: Path) -> None:
    secrets = make_secrets(tmp_path)
    assert secrets.keys() == SECRETS
    refuse_weak_key(secrets["secret_key"])
    password = secrets["redis_auth"].removeprefix("requirepass ").strip()
    assert secrets["redis_url"].strip() == f"redis://:{password}@redis:6379/0"
    assert f":{secrets['mariadb_password']}@mariadb/" in secrets["database_url"]
    assert len({secrets["secret_key"], password, secrets["mariadb_password"]}) == 3
    assert (tmp_path / "site/secrets").stat().st_mode & 0o777 == 0o700
    assert make_secrets(tmp_path) == secrets


def test_every_secret_is_a_file_that_the_script_makes(services: dict[str, Any]) -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    files = {name: secret["file"] for name, secret in document["secrets"].items()}
    assert files == {name: f"site/secrets/{name}" for name in SECRETS}
    for name in OWN_SERVICES:
        environment = " ".join(map(str, (services[name].get("environment") or {}).values()))
        assert "password" not in environment.lower().replace("/run/secrets/mariadb_password", "")


def test_containers_can_do_little_besides_their_work(services: dict[str, Any]) -> None:
    for name in OWN_SERVICES:
        service = services[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"] and service["pids_limit"], name


def test_redis_asks_for_a_password(services: dict[str, Any]) -> None:
    assert services["redis"]["command"][2:] == ["--include", "/run/secrets/redis_auth"]
    assert "protected-mode" not in str(services["redis"]["command"])


def test_flower_starts_on_demand_only_and_with_a_login(services: dict[str, Any]) -> None:
    assert services["flower"]["profiles"] == ["flower"]
    assert "FLOWER_BASIC_AUTH" in str(services["flower"]["command"])


def test_nothing_can_be_reached_from_other_machines_unless_asked_for(
    services: dict[str, Any],
) -> None:
    published = {name: found for name, service in services.items() if (found := ports(service))}
    assert published == {
        "api": [("127.0.0.1", 3000, 3000)],
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
    result = config(compose_client, project, {"PORT": "8080"})
    assert ports(yaml.safe_load(result.stdout)["services"]["api"]) == [("127.0.0.1", 8080, 3000)]


def test_address_at_which_the_api_is_published_is_known_to_it(
    compose_client: list[str], project: Path
) -> None:
    result = config(compose_client, project, {"PUBLISH": "0.0.0.0"})
    api = yaml.safe_load(result.stdout)["services"]["api"]
    assert ports(api) == [("0.0.0.0", 3000, 3000)]
    assert api["environment"]["PUBLISHED_ADDRESS"] == "0.0.0.0"


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
