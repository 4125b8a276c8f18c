"""Settings: config.env, the environment over it, and what is refused at start-up."""

from __future__ import annotations

import itertools
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticUndefined

from resop.config import config_file
from resop.config.clusters import read_clusters
from resop.config.policy import load_policy
from resop.config.settings import Settings, load_settings
from resop.errors import InvalidSettings, UnknownAction
from resop.security.identity import Identity

CONFIG = Path(__file__).parents[3] / "config.env"
NAMES = [name for name in Settings.model_fields if name != "own"]
GOOD_KEY = "Zk3wVb9qLx7TgH2mRd5sNc8yPf4jUa6e"

Read = Callable[..., Settings]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*NAMES, "RESOP_CONFIG"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Load a config.env of these lines, with these variables in the environment."""
    monkeypatch.chdir(tmp_path)

    def loaded(*lines: str, **environ: str) -> Settings:
        Path("config.env").write_text("\n".join([*lines, ""]), encoding="utf-8")
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return loaded


def refusal(read: Read, *lines: str, **environ: str) -> str:
    with pytest.raises(InvalidSettings) as refused:
        read(*lines, **environ)
    assert "\n" not in refused.value.message
    return refused.value.message


# -- config.env


def blocks() -> list[tuple[str, str, str]]:
    """(help, name, value) of every setting that config.env shows, in their order."""
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    found = []
    for before, line in itertools.pairwise(lines):
        if setting := re.fullmatch(r"#?([A-Z][A-Z_]*) ?=(.*)", line):
            found.append((before, setting[1], setting[2]))
    return found


def test_config_env_shows_every_setting_once_in_the_order_of_the_class() -> None:
    assert [name for _, name, _ in blocks()] == NAMES


def test_config_env_explains_each_setting_in_one_line() -> None:
    for help_line, name, _ in blocks():
        assert re.fullmatch(r"# [A-Za-z].*\.", help_line), name
        assert len(help_line) <= 100, name


def test_config_env_shows_the_default_of_each_setting(read: Read) -> None:
    for _, name, value in blocks():
        default = Settings.model_fields[name].default
        assert default is not PydanticUndefined, name
        assert getattr(read(f"{name}={value}"), name) == default, name
        assert (value == "") == (default in (None, "")), name


def test_config_env_as_it_is_gives_the_defaults() -> None:
    assert load_settings(CONFIG, {}) == Settings()


# -- reading


@pytest.mark.parametrize(
    "line",
    [
        "CLUSTER_NAME = 'tango'",
        'CLUSTER_NAME="tango"',
        "CLUSTER_NAME=tango",
        "export CLUSTER_NAME=tango",
        "  CLUSTER_NAME = tango  # the old one",
        "CLUSTER_NAME=tango\r",
    ],
)
def test_values_are_read_as_people_write_them(read: Read, line: str) -> None:
    assert read("# a comment", "", line).CLUSTER_NAME == "tango"


def test_settings_of_the_original_still_work(read: Read, tmp_path: Path) -> None:
    for name in ("key.pem", "cert.pem"):
        (tmp_path / name).touch()
    settings = read(
        "CLUSTER_NAME = 'tango'",
        "CLUSTER_ADDRESS = 'login.example.org'",
        "CLUSTER_SSH_PORT = '2222'",
        "ENABLE_HTTPS = 'true'",
        "SSL_PRIVATE_KEY = 'key.pem'",
        "SSL_CERTIFICATE = 'cert.pem'",
        "LDAP_BASE = 'dc=example,dc=org'",
    )
    cluster = settings.cluster(None)
    assert (cluster.name, cluster.address, cluster.ssh_port) == ("tango", "login.example.org", 2222)
    assert settings.ENABLE_HTTPS
    assert settings.setting("LDAP_BASE") == "dc=example,dc=org"


def test_environment_wins_over_the_file(read: Read) -> None:
    settings = read("PORT=1", "OWN=file", PORT="2", OWN="environment")
    assert settings.PORT == 2
    assert settings.setting("OWN") == "environment"


def test_empty_value_leaves_a_setting_unset(read: Read) -> None:
    settings = read("PORT=", "REDIS_URL=", "SECRET_KEY=''", "OWN=", HOST="")
    assert settings == Settings(own={"OWN": ""})
    assert settings.setting("OWN") is None


def test_byte_order_mark_is_not_part_of_a_name(tmp_path: Path) -> None:
    file = tmp_path / "config.env"
    file.write_bytes(b"\xef\xbb\xbfPORT=4000\r\n")
    assert load_settings(file, {}).PORT == 4000


def test_defaults_apply_without_a_file(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none", {}) == Settings()


def test_file_named_in_the_environment_must_exist(read: Read, tmp_path: Path) -> None:
    (tmp_path / "other.env").write_text("PORT=4000\n")
    assert read("PORT=1", RESOP_CONFIG=str(tmp_path / "other.env")).PORT == 4000
    message = refusal(read, RESOP_CONFIG=str(tmp_path / "none"))
    assert message == f"RESOP_CONFIG: {tmp_path}/none is not a file"


def test_no_operator_reads_a_setting_of_the_service(read: Read) -> None:
    settings = read(f"SECRET_KEY={GOOD_KEY}", DEMO_PASSWORD="hunter2")
    assert settings.setting("SECRET_KEY") is None
    assert settings.setting("DEMO_PASSWORD") is None
    assert settings.setting("NO_SUCH_SETTING") is None


def test_secrets_of_the_settings_are_not_shown(read: Read) -> None:
    shown = repr(read(f"SECRET_KEY={GOOD_KEY}", "DEMO_PASSWORD=hunter2"))
    assert GOOD_KEY not in shown
    assert "hunter2" not in shown


# -- what is refused, with its line


@pytest.mark.parametrize(
    ("lines", "line", "part"),
    [
        (["PORT=abc"], 1, "PORT: must be a port number"),
        (["# x", "", "  ", "# y", "PORT=70000"], 5, "PORT: must be a port number from 1 to 65535"),
        (["", "", "   ", "", "PORT=x"], 5, "PORT"),
        (["A='x\ny'", "PORT=x"], 3, "PORT"),
        (["ENABLE_HTTPS=maybe"], 1, "ENABLE_HTTPS"),
        (["LOG_LEVEL=LOUD"], 1, "must be DEBUG, INFO, WARNING or ERROR"),
        (["TASK_TIMEOUT=inf"], 1, "finite"),
        (["TASK_TIMEOUT=nan"], 1, "TASK_TIMEOUT"),
        (["SYNC_WAIT=-1"], 1, "SYNC_WAIT"),
        (["WORKER_TASKS=0"], 1, "WORKER_TASKS"),
        (["CONNECTIONS=0"], 1, "CONNECTIONS: must be a whole number, at least 1"),
        (["HEADER_BYTES=1000"], 1, "from 1024 to 1048576"),
        (["HEADER_SECONDS=inf"], 1, "HEADER_SECONDS: must be a number of seconds from 1 to 3600"),
        (["ALLOWED_HOSTS=https://a.example"], 1, "ALLOWED_HOSTS: must be names such as"),
        (["ALLOWED_HOSTS=a.example:443"], 1, "without a port"),
        (["ALLOWED_HOSTS=*"], 1, "ALLOWED_HOSTS"),
        (["ROOT_PATH=resop"], 1, "ROOT_PATH: must be a path such as /resop"),
        (["ROOT_PATH=/resop/"], 1, "without a slash at its end"),
        (["ROOT_PATH=//evil.example"], 1, "ROOT_PATH"),
        (["ROOT_PATH=/a/../b"], 1, "ROOT_PATH"),
        (["CLUSTER_NAME=a b", "CLUSTER_ADDRESS=x"], 1, "CLUSTER_NAME"),
        (["REDIS_URL=localhost:6379"], 1, "REDIS_URL"),
        (["CLUSTER_PROMPTS=password"], 1, "CLUSTER_PROMPTS: must be a mapping, such as {'grid"),
        (["CLUSTER_PROMPTS={a: "], 1, "CLUSTER_PROMPTS: must be YAML: "),
        (["CLUSTER_PROMPTS={'a(': otp}"], 1, "'a(' must be a regular expression: "),
        (["CLUSTER_PROMPTS={terms: yes}"], 1, "the answer to 'terms' must be password, otp, "),
        (["LOGIN_SECONDS=0"], 1, "LOGIN_SECONDS: must be a number of seconds from 1 to 3600"),
        (["DATABASE_URL=postgresql://x/y"], 1, "DATABASE_URL"),
        (["X=1", "PROT=3000"], 2, "unknown setting PROT; did you mean PORT?"),
        (["CLUSTER_ADRESS=x"], 1, "did you mean CLUSTER_ADDRESS?"),
        (["SECRETKEY=x"], 1, "did you mean SECRET_KEY?"),
        (["port=3000"], 1, "did you mean PORT?"),
        (["PORT=1", "", "PORT=2"], 3, "PORT is set twice; the first time in line 1"),
        (["PORT"], 1, "not of the form KEY=value"),
        (["X=1", "PORT: 3000"], 2, "not of the form KEY=value"),
        (["X='unbalanced"], 1, "not of the form KEY=value"),
        (["X=1", "ENABLE_HTTPS=true"], 2, "ENABLE_HTTPS needs SSL_PRIVATE_KEY"),
        (["X=1", "SECRET_KEY=short"], 2, "SECRET_KEY has 5 characters, 32 are needed"),
        (["X=1", "NOTIFY_HOSTS=10.0.0.1"], 2, "NOTIFY_HOSTS: '10.0.0.1' is not of the form"),
        (["NOTIFY_SECRET=whsec_c2hvcnQ="], 1, "NOTIFY_SECRET must be whsec_ and 24 to 64"),
        (["NOTIFY_SECRET=whsec_no base64"], 1, "NOTIFY_SECRET must be whsec_ and 24 to 64"),
        (["X=1", "DATA_DIR=/tmp/a?b"], 2, "DATA_DIR"),
    ],
)
def test_wrong_line_is_reported_with_its_number(
    read: Read, lines: list[str], line: int, part: str
) -> None:
    message = refusal(read, *lines)
    assert message.startswith(f"config.env:{line}: ")
    assert part in message


def test_notifications_need_a_secret(read: Read) -> None:
    said = refusal(read, "NOTIFY_HOSTS=hooks.hpc.example")
    assert said == "config.env: NOTIFY_SECRET is needed when NOTIFY_HOSTS is set; see config.env"


def test_every_wrong_line_is_reported(read: Read) -> None:
    message = refusal(read, "PORT=x", "SYNC_WAIT=y", LOG_LEVEL="z")
    assert [part.split(": ")[:2] for part in message.split("; ")] == [
        ["config.env:1", "PORT"],
        ["config.env:2", "SYNC_WAIT"],
        ["environment", "LOG_LEVEL"],
    ]


@pytest.mark.parametrize("name", ["LDAP_HOST", "DB_PORT", "TEMPLATE_NAME", "MAIL_PASSWORD"])
def test_unknown_names_belong_to_operators(read: Read, name: str) -> None:
    assert read(f"{name}=x").setting(name) == "x"


def test_values_are_not_repeated_in_a_refusal(read: Read) -> None:
    for line in ("SECRET_KEY=hunter2", "REDIS_URL=hunter2", "SECRET_KEY hunter2", "X='hunter2"):
        assert "hunter2" not in refusal(read, line)


@pytest.mark.parametrize("content", [b"PORT=\xff\n", b"\xff\xfeP\x00"])
def test_file_that_is_not_utf8_is_reported(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.env"
    file.write_bytes(content)
    with pytest.raises(InvalidSettings, match=rf"{file}: .*utf-8"):
        load_settings(file, {})


# -- secret key


@pytest.mark.parametrize(
    "key",
    [
        "changeme",
        "a" * 31,
        "a" * 64,
        "0123" * 16,
        "change-me-Zk3wVb9qLx7TgH2mRd5sNc8yPf4j",
        "this-is-an-EXAMPLE-Zk3wVb9qLx7TgH2mRd5s",
        "insecure-Zk3wVb9qLx7TgH2mRd5sNc8yPf4j",
    ],
)
def test_weak_or_example_secret_key_is_refused(read: Read, key: str) -> None:
    message = refusal(read, f"SECRET_KEY={key}")
    assert "openssl rand -base64 48" in message
    assert key not in message


@pytest.mark.parametrize("key", [GOOD_KEY, "0b1c7a9e5d3f20486ace13579bdf2468"])
def test_random_secret_key_is_used_as_it_is(read: Read, tmp_path: Path, key: str) -> None:
    assert read(f"SECRET_KEY={key}").secret_key() == key.encode()
    assert not (tmp_path / "data").exists()


def test_secret_key_is_created_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(DATA_DIR=tmp_path / "new/data")
    key = settings.secret_key()
    assert len(key) >= 48
    assert settings.secret_key() == Settings(DATA_DIR=tmp_path / "new/data").secret_key() == key
    file = tmp_path / "new/data/secret_key"
    assert file.read_bytes() == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [each.name for each in file.parent.iterdir()] == ["secret_key"]


def test_damaged_secret_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "secret_key"
    file.write_bytes(b"short\n")
    with pytest.raises(InvalidSettings, match=f"{file}: .*damaged"):
        Settings(DATA_DIR=tmp_path).secret_key()
    assert file.read_bytes() == b"short\n"


def test_secret_key_that_cannot_be_stored_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder is to be")
    with pytest.raises(InvalidSettings, match="the secret key cannot be stored"):
        Settings(DATA_DIR=tmp_path / "data").secret_key()


# -- one machine or many


def test_one_machine_needs_nothing_and_listens_to_itself(tmp_path: Path) -> None:
    settings = Settings(DATA_DIR=tmp_path)
    assert settings.embedded
    assert settings.HOST == "127.0.0.1"
    assert settings.redis_url == f"unix://{tmp_path}/valkey.sock"
    assert settings.broker_url == f"redis+socket://{tmp_path}/valkey.sock"
    assert settings.database_url == f"sqlite:///{tmp_path}/resop.db"


def test_relative_data_folder_is_the_same_for_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(DATA_DIR=Path("data")).redis_socket == tmp_path / "data/valkey.sock"


def test_data_folder_too_long_for_a_socket_is_refused(read: Read) -> None:
    longest = "/" + "d" * (107 - len("//valkey.sock"))
    assert len(bytes(read(f"DATA_DIR={longest}").redis_socket)) == 107
    assert "longer than 107 bytes" in refusal(read, f"DATA_DIR={longest}d")
    assert "longer than 107 bytes" in refusal(read, f"DATA_DIR=/{'é' * 50}")


MANY = [f"SECRET_KEY={GOOD_KEY}", "REDIS_URL=rediss://r:1/0", "KNOWN_HOSTS=/etc/ssh/known_hosts"]


def test_many_machines_share_redis_and_secret_key(read: Read) -> None:
    settings = read(*MANY, "CLUSTER_ADDRESS=x", f"DATA_DIR=/{'d' * 200}")
    assert not settings.embedded
    assert settings.redis_url == settings.broker_url == "rediss://r:1/0"


@pytest.mark.parametrize(
    "address",
    [
        "redis://r",
        "redis://r:6380/3",
        "redis://:pass%40word@r/",
        "rediss://user:pass@r/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem",
        "rediss://[::1]:6379?ssl_cert_reqs=none&ssl_check_hostname=false",
    ],
)
def test_address_of_redis_is_accepted(read: Read, address: str) -> None:
    assert read(MANY[0], MANY[2], f"REDIS_URL={address}").redis_url == address


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("rediss://r?ssl_cert_reqs=CERT_REQUIRED", "ssl_cert_reqs must be required or optional"),
        ("rediss://r?ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs must be"),
        ("rediss://r?ssl_cert_reqs=", "ssl_cert_reqs must be"),
        ("rediss://r?ssl_cert_req=none", "may have ssl_cert_reqs, "),
        ("redis://r?ssl_cert_reqs=required", "redis:// may have nothing"),
        ("redis://r?db=3", "redis:// may have nothing"),
        ("redis://r/three", "must be of the form"),
        ("redis://r:port/0", "must be of the form"),
        ("redis://:hunter2/x@r", "must be of the form"),
        ("redis://:hunter2#x@r", "must be of the form"),
        ("redis://:hunter2?x@r", "must be of the form"),
    ],
)
def test_address_that_would_never_be_ready_is_refused(read: Read, address: str, part: str) -> None:
    message = refusal(read, MANY[0], MANY[2], f'REDIS_URL="{address}"')
    assert "REDIS_URL" in message and part in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("left_out", "part"), [(0, "SECRET_KEY is needed"), (2, "KNOWN_HOSTS is needed")]
)
def test_many_machines_need_settings_that_one_machine_creates(
    read: Read, left_out: int, part: str
) -> None:
    lines = [line for number, line in enumerate(MANY) if number != left_out]
    assert part in refusal(read, *lines, "CLUSTER_ADDRESS=x")


# -- clusters


def test_address_of_the_cluster_is_that_of_a_host(read: Read) -> None:
    assert read("CLUSTER_ADDRESS=[::1]").cluster(None).address == "::1"
    message = refusal(read, "CLUSTER_ADDRESS=alice@login")
    assert "config.env:1: CLUSTER_ADDRESS: must be the login node's address" in message


def test_older_algorithms_are_those_of_all_clusters_and_of_the_cluster(
    read: Read, clusters_file: Path
) -> None:
    clusters_file.write_text(
        "- {name: old, address: a, ssh_algorithms: [3des-cbc]}\n- {name: new, address: b}\n"
    )
    settings = read("SSH_ALGORITHMS=+ssh-rsa, hmac-md5", f"CLUSTERS_FILE={clusters_file}")
    accepted = [settings.ssh_algorithms(each) for each in settings.clusters().values()]
    assert accepted == [("ssh-rsa", "hmac-md5", "3des-cbc"), ("ssh-rsa", "hmac-md5")]
    message = refusal(read, "SSH_ALGORITHMS=ssh-rsa,ssh-dss")
    assert "config.env:1: SSH_ALGORITHMS: ssh-dss is not one of the older algorithms" in message


CLUSTERS = """
- {name: tango, address: tango.example.org, known_hosts: "SHA256:abc"}
- {name: waltz, address: 10.0.0.1, ssh_port: 2222}
"""


@pytest.fixture
def clusters_file(tmp_path: Path) -> Path:
    file = tmp_path / "clusters.yml"
    file.write_text(CLUSTERS)
    return file


def test_clusters_file_lists_several_and_the_first_is_the_default(
    read: Read, clusters_file: Path
) -> None:
    settings = read(f"CLUSTERS_FILE={clusters_file}", "CLUSTER_ADDRESS=ignored")
    assert list(settings.clusters()) == ["tango", "waltz"]
    assert settings.cluster(None).name == "tango"
    assert settings.cluster("waltz").ssh_port == 2222
    with pytest.raises(UnknownAction, match="'polka'; there is tango, waltz"):
        settings.cluster("polka")


def test_answers_to_prompts_belong_to_a_cluster(read: Read, tmp_path: Path) -> None:
    line = 'CLUSTER_PROMPTS={"^password": [password, otp], "the terms?": text:yes, go: "text:"}'
    for text in (line, f"{line[:16]}'{line[16:]}'"):
        assert read("CLUSTER_ADDRESS=x", text).cluster(None).prompts == {
            "^password": ("password", "otp"),
            "the terms?": ("text:yes",),
            "go": ("text:",),
        }
    file = tmp_path / "clusters.yml"
    file.write_text("- {name: a, address: x, prompts: {pass: otp}}\n- {name: b, address: y}\n")
    clusters = read(f"CLUSTERS_FILE={file}").clusters()
    assert [each.prompts for each in clusters.values()] == [{"pass": ("otp",)}, {}]


def test_missing_cluster_is_reported_when_one_is_needed() -> None:
    assert Settings().clusters() == {}
    with pytest.raises(InvalidSettings, match="set CLUSTER_ADDRESS"):
        Settings().cluster(None)


def test_many_machines_trust_no_host_key_on_first_use(read: Read, clusters_file: Path) -> None:
    lines = [*MANY[:2], f"CLUSTERS_FILE={clusters_file}"]
    assert "KNOWN_HOSTS is needed" in refusal(read, *lines)
    clusters_file.with_name("pinned.yml").write_text(CLUSTERS.splitlines()[1])
    lines[2] = f"CLUSTERS_FILE={clusters_file.with_name('pinned.yml')}"
    assert list(read(*lines).clusters()) == ["tango"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("- {name: a, address: x}\n- {name: a, address: y}\n", "the same name"),
        ("- {name: a}\n", "address: is missing"),
        ("- {name: a, address: ''}\n", "address: must be the login node"),
        ("- {name: '../a', address: x}\n", "name: must be up to 63 letters"),
        ("- {name: a, address: x, ssh_port: 0}\n", "ssh_port: must be a port number"),
        ("- {name: a, address: 'x:2222'}\n", "address: must be without the port: x here, and 2222"),
        ("- {name: a, address: x, ssh_algorithms: [md5]}\n", "ssh_algorithms: md5 is not one of"),
        ("- {name: a, address: x, ssh_algorithms: ssh-rsa}\n", "ssh_algorithms: must be a list"),
        (
            "- {name: a, address: x, port: 1}\n",
            "port: is not a known key; the keys are name, address",
        ),
        (
            "- {name: a, address: x, prompts: {b: c}}\n",
            "prompts: the answer to 'b' must be password, otp, password+otp, username, enter or "
            "text: and a text",
        ),
        ("- text\n", "entry: must be a mapping with the keys name, address"),
        ("{name: a, address: x}\n", "must be a list of clusters"),
        ("", "must be a list of clusters"),
        ("[]", "must be a list of clusters"),
        ("- {name: [\n", "line 2"),
        ("- name: a\n  address: x\n  name: b\n", "line 3: 'name' occurs twice"),
        ("- \udcff", "utf-8"),
    ],
)
def test_wrong_clusters_file_is_reported_at_start_up(
    read: Read, tmp_path: Path, content: str, part: str
) -> None:
    file = tmp_path / "clusters.yml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    message = refusal(read, f"CLUSTERS_FILE={file}")
    assert message.startswith(f"CLUSTERS_FILE: {file}: ")
    assert part in message


def test_missing_clusters_file_is_reported(read: Read) -> None:
    assert "CLUSTERS_FILE: none.yml" in refusal(read, "CLUSTERS_FILE=none.yml")


def test_folders_of_operators_are_made_absolute(read: Read, tmp_path: Path) -> None:
    assert read("OPERATORS_PATH=ours:/opt/theirs:").operator_folders == [
        tmp_path / "ours",
        Path("/opt/theirs"),
    ]
    assert read("OPERATORS_PATH=").operator_folders == []


def test_former_names_of_values_are_refused_with_the_new_one(read: Read, tmp_path: Path) -> None:
    said = refusal(read, "CLUSTER_ADDRESS=login", "CLUSTER_LOGIN=kept")
    assert said == "config.env:2: CLUSTER_LOGIN=kept is now CLUSTER_LOGIN=held"
    clusters = tmp_path / "clusters.yml"
    clusters.write_text("- {name: hpc, address: login, login: kept}\n")
    assert "kept is now called held" in refusal(read, f"CLUSTERS_FILE={clusters}")


def test_former_names_of_settings_are_refused_with_the_new_one(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config_file.RENAMED_SETTINGS, "NODE_ADDRESS", "CLUSTER_ADDRESS")
    message = refusal(read, "PORT=1", "NODE_ADDRESS=x")
    assert message == "config.env:2: NODE_ADDRESS is now called CLUSTER_ADDRESS"
    message = refusal(read, "PORT=1", NODE_ADDRESS="x")
    assert message == "environment: NODE_ADDRESS is now called CLUSTER_ADDRESS"


def test_settings_of_the_javascript_version_are_named_all_at_once(read: Read) -> None:
    lines = ("ENABLE_HTTPS= 'false'", "JWT_SECRET = 'abc'", "ENABLE_DB='true'", "DB_HOST=x")
    with pytest.raises(InvalidSettings) as refused:
        read(*lines)
    assert refused.value.message.splitlines() == [
        "config.env:2: JWT_SECRET has no effect, SECRET_KEY takes its place: remove the line",
        "config.env:3: ENABLE_DB has no effect, DATABASE_URL names a database, and without it one "
        "is made: remove the line",
    ]
    assert refused.value.lines("resop").startswith("resop: config.env:2: JWT_SECRET")
    # The environment has the settings of other programs, too.
    assert read("CLUSTER_ADDRESS=login", JWT_SECRET="abc").setting("DB_HOST") is None


def test_every_new_name_is_a_setting_and_no_former_one_is() -> None:
    assert set(config_file.RENAMED_SETTINGS.values()) <= set(NAMES)
    assert not set(config_file.RENAMED_SETTINGS) & set(NAMES)
    assert {name for name, _ in config_file.RENAMED_VALUES} <= set(NAMES)


# -- the words of a refusal

PYDANTIC = re.compile(
    r"Input should|String should|Value error|Field required|Extra inputs|\^|pattern"
)


@pytest.mark.parametrize("value", ["no such value", "-1", "1e999", "9" * 30, "0.5", "é", "*"])
def test_refusal_is_a_sentence_of_our_own(read: Read, value: str) -> None:
    for name in NAMES:
        try:
            read(f"{name}={value}")
        except InvalidSettings as fault:
            assert not PYDANTIC.search(fault.message), fault.message
            assert fault.message.startswith(("config.env", "CLUSTERS_FILE", "POLICY_FILE"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab:*/é", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner),
    max_leaves=6,
)
CLUSTER_KEYS = st.sampled_from(
    ["name", "address", "ssh_port", "known_hosts", "login", "prompts", "other"]
)
RULE_KEYS = st.sampled_from(["allow", "deny", "users", "groups", "rate", "other"])
RULES = VALUES | st.lists(VALUES | st.dictionaries(RULE_KEYS, VALUES), max_size=3)


@given(VALUES | st.lists(VALUES | st.dictionaries(CLUSTER_KEYS, VALUES), min_size=1, max_size=3))
def test_refusal_of_a_clusters_file_is_a_sentence_of_our_own(content: object) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
        yaml.safe_dump(content, file, allow_unicode=True)
        file.flush()
        try:
            read_clusters(Path(file.name))
        except InvalidSettings as fault:
            assert not PYDANTIC.search(fault.message), fault.message


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "default": VALUES | st.just("deny"),
            "rules": RULES,
            "settings": VALUES,
            "x": VALUES,
        },
    )
)
def test_refusal_of_a_policy_is_a_sentence_of_our_own(content: object) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
        yaml.safe_dump(content, file, allow_unicode=True)
        file.flush()
        try:
            load_policy(Path(file.name))
        except InvalidSettings as fault:
            assert not PYDANTIC.search(fault.message), fault.message


# -- the audit log


def test_auditors_are_users_on_clusters(read: Read, tmp_path: Path) -> None:
    one = read("CLUSTER_ADDRESS=a", "CLUSTER_NAME=main", "AUDITORS=ada, bob@main")
    assert {Identity("ada", "main"), Identity("bob", "main")} <= one.auditors()
    assert read("CLUSTER_ADDRESS=a", "AUDITORS=").auditors() == set()
    clusters = tmp_path / "clusters.yml"
    clusters.write_text("- {name: main, address: a}\n- {name: test, address: b}\n")
    several = [f"CLUSTERS_FILE={clusters}"]
    assert read(*several, "AUDITORS=x@y@test").auditors() == {("x@y", "test")}
    for text in ("ada", "ada@other", "@main"):
        assert f"AUDITORS: {text!r} names none" in refusal(read, *several, f"AUDITORS={text}")


@pytest.mark.parametrize(
    "address",
    ["udp://log.example:514", "tcp://[2001:db8::1]:601", "unix:///dev/log", "udp://10.0.0.1:514"],
)
def test_syslog_servers(read: Read, address: str) -> None:
    assert address == read(f"AUDIT_SYSLOG={address}").AUDIT_SYSLOG


@pytest.mark.parametrize(
    "address", ["log.example:514", "udp://log.example", "unix://dev/log", "http://x:1", "udp://:5"]
)
def test_other_addresses_of_syslog_are_refused(read: Read, address: str) -> None:
    assert "must be udp://HOST:PORT, tcp://HOST:PORT or unix:///dev/log" in refusal(
        read, f"AUDIT_SYSLOG={address}"
    )
