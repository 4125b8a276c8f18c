"""The settings: one typed class, read from config.env and the environment, checked at start-up."""

from __future__ import annotations

import base64
import contextlib
import difflib
import functools
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from dotenv.parser import parse_stream
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from resop.config.policy import OPEN, Policy, load_policy
from resop.config.webhook_hosts import WebhookHosts
from resop.errors import InvalidSettings, UnknownAction
from resop.types import Secret

CONFIG_FILE = "config.env"
EXAMPLES = ("change", "example", "secret", "password", "default", "insecure", "test")
SHORTEST_SECRET_KEY = 32
NOTIFY_KEY_BYTES = range(24, 65)  # https://www.standardwebhooks.com
UNIX_SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less its final NUL


LoginKind = Literal["key", "held", "certificate"]
"""What a login leaves, so that its user's tasks have a session; see `api/auth/credentials.py`."""
ClusterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


RENAMED_VALUES = {("CLUSTER_LOGIN", "kept"): "held"}
"""Values of settings that have another name since 0.2, by setting and former value."""


class Cluster(BaseModel):
    """A configured SSH target."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClusterName
    address: Annotated[str, Field(min_length=1)]
    ssh_port: Annotated[int, Field(ge=1, le=65535)] = 22
    known_hosts: str | None = None
    """A known_hosts file or fingerprints of this cluster alone; KNOWN_HOSTS when not given."""
    login: LoginKind = "key"

    @field_validator("login", mode="before")
    @classmethod
    def _refuse_former_name(cls, login: object) -> object:
        if login == "kept":
            raise ValueError("kept is now called held")
        return login


class Settings(BaseModel):
    """Every setting with its default; `config.env` explains each in one line."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    HOST: str = "127.0.0.1"
    PORT: Annotated[int, Field(ge=0, le=65535)] = 3000
    ENABLE_HTTPS: bool = False
    SSL_PRIVATE_KEY: Path | None = None
    SSL_CERTIFICATE: Path | None = None
    TRUSTED_PROXIES: str = ""
    CORS_ORIGINS: Annotated[
        str, Field(pattern=r"^(https?://[^/,\s]+( *, *https?://[^/,\s]+)*)?$")
    ] = ""

    CLUSTER_NAME: ClusterName = "cluster"
    CLUSTER_ADDRESS: str | None = None
    CLUSTER_SSH_PORT: Annotated[int, Field(ge=1, le=65535)] = 22
    CLUSTER_LOGIN: LoginKind = "key"
    CLUSTERS_FILE: Path | None = None
    KNOWN_HOSTS: str | None = None
    REMOTE_RUNNER: Literal["auto", "off"] = "auto"

    USER_CA_KEY: Path | None = None
    OIDC_ISSUER: str | None = None
    OIDC_AUDIENCE: str | None = None
    OIDC_KEYS: str | None = None
    OIDC_CLAIM: str = "preferred_username"

    SECRET_KEY: Secret | None = None
    SECRET_KEY_OLD: Secret | None = None
    DATA_DIR: Path = Path("data")
    REDIS_URL: Annotated[str | None, Field(pattern="^rediss?://")] = None
    DATABASE_URL: Annotated[
        str | None, Field(pattern=r"^(sqlite:///|(mysql|mariadb)\+pymysql://)")
    ] = None
    OPERATORS_PATH: str = ""
    POLICY_FILE: Path | None = None

    SYNC_WAIT: Annotated[float, Field(ge=0, le=3600)] = 30
    TASK_TIMEOUT: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600
    QUEUED_TASKS: Annotated[int, Field(ge=1)] = 1000
    TOKEN_HOURS: Annotated[float, Field(gt=0, le=24 * 30)] = 8
    WORKER_TASKS: Annotated[int, Field(ge=1)] = 500
    BATCH_SIZE: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    BATCH_AT_ONCE: Annotated[int, Field(ge=1)] = 32
    HISTORY_DAYS: Annotated[int, Field(ge=0)] = 365

    NOTIFY_HOSTS: str = ""
    NOTIFY_SECRET: Secret | None = None
    NOTIFY_PRIVATE: bool = False

    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    LOG_FORMAT: Literal["plain", "json"] = "plain"
    DEMO_PASSWORD: Secret | None = None

    own: dict[str, str] = Field(default_factory=dict)
    """Further names, for operators: `shell.setting("NAME")`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.ENABLE_HTTPS:
            for name in ("SSL_PRIVATE_KEY", "SSL_CERTIFICATE"):
                path = getattr(self, name)
                if path is None or not path.is_file():
                    raise ValueError(f"ENABLE_HTTPS needs {name}: {path} is not a file")
        if not self.embedded:
            if self.SECRET_KEY is None:
                raise ValueError("SECRET_KEY is needed when REDIS_URL is set; see config.env")
            if self.KNOWN_HOSTS is None and any(
                cluster.known_hosts is None for cluster in self.clusters().values()
            ):
                raise ValueError(
                    "KNOWN_HOSTS is needed when REDIS_URL is set: "
                    "a host key is pinned at first use on a single machine only"
                )
        if self.USER_CA_KEY is None and any(
            cluster.login == "certificate" for cluster in self.clusters().values()
        ):
            raise ValueError("USER_CA_KEY is needed for a cluster whose login is certificate")
        if self.OIDC_ISSUER and not (self.OIDC_AUDIENCE and self.OIDC_KEYS):
            raise ValueError("OIDC_ISSUER needs OIDC_AUDIENCE and OIDC_KEYS")
        if self.SECRET_KEY is not None:
            _refuse_weak(self.SECRET_KEY.get_secret_value())
        try:
            hosts = self.notify_hosts
        except ValueError as fault:
            raise ValueError(f"NOTIFY_HOSTS: {fault}") from None
        if hosts and self.NOTIFY_SECRET is None:
            raise ValueError("NOTIFY_SECRET is needed when NOTIFY_HOSTS is set; see config.env")
        if self.NOTIFY_SECRET is not None:
            self.notify_key()
        if any(sign in str(self.DATA_DIR.absolute()) for sign in "?#%"):
            raise ValueError("DATA_DIR: '?', '#' and '%' mean something else in an address")
        if self.embedded and len(os.fsencode(self.redis_socket)) > UNIX_SOCKET_PATH_BYTES:
            raise ValueError(
                f"DATA_DIR: the path of its socket {self.redis_socket} is longer than "
                f"{UNIX_SOCKET_PATH_BYTES} bytes; choose a shorter folder"
            )
        return self

    @property
    def embedded(self) -> bool:
        """Whether Redis is ours: everything runs on this one machine."""
        return self.REDIS_URL is None

    @property
    def redis_socket(self) -> Path:
        """The embedded engine's unix socket."""
        return self.DATA_DIR.absolute() / "valkey.sock"

    @property
    def redis_url(self) -> str:
        """The address as redis-py takes it."""
        return self.REDIS_URL or f"unix://{self.redis_socket}"

    @property
    def broker_url(self) -> str:
        """The same address as Celery takes it."""
        return self.REDIS_URL or f"redis+socket://{self.redis_socket}"

    @property
    def database_url(self) -> str:
        """The address as SQLAlchemy takes it."""
        return self.DATABASE_URL or f"sqlite:///{self.DATA_DIR.absolute() / 'resop.db'}"

    @property
    def operator_folders(self) -> list[Path]:
        """The site's own operator folders, in the order given (separated by ':')."""
        return [Path(part).absolute() for part in self.OPERATORS_PATH.split(":") if part]

    @property
    def cors_origins(self) -> list[str]:
        """The other sites whose pages may call the API (separated by ',')."""
        return [part.strip() for part in self.CORS_ORIGINS.split(",") if part]

    def secret_key(self) -> bytes:
        """The key everything is sealed with; made and kept in DATA_DIR on a single machine."""
        if self.SECRET_KEY is not None:
            return self.SECRET_KEY.get_secret_value().encode()
        return _kept_key(self.DATA_DIR / "secret_key")

    @property
    def notify_hosts(self) -> WebhookHosts:
        """Where notifications may go."""
        return WebhookHosts(self.NOTIFY_HOSTS)

    def notify_key(self) -> bytes:
        """What notifications are signed with; ValueError when it is not what a key has to be."""
        assert self.NOTIFY_SECRET is not None
        text = self.NOTIFY_SECRET.get_secret_value()
        try:
            key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if not text.startswith("whsec_") or len(key) not in NOTIFY_KEY_BYTES:
            raise ValueError(
                "NOTIFY_SECRET is whsec_ and 24 to 64 random bytes in base64: "
                "make one with: echo whsec_$(openssl rand -base64 32)"
            )
        return key

    def old_secret_key(self) -> bytes | None:
        """The key before it, with which what was sealed then still opens."""
        return self.SECRET_KEY_OLD.get_secret_value().encode() if self.SECRET_KEY_OLD else None

    def clusters(self) -> dict[str, Cluster]:
        """The configured clusters by name; the first is the default."""
        if self.CLUSTERS_FILE is not None:
            return _read_clusters(self.CLUSTERS_FILE)
        if self.CLUSTER_ADDRESS is None:
            return {}
        only = Cluster(
            name=self.CLUSTER_NAME,
            address=self.CLUSTER_ADDRESS,
            ssh_port=self.CLUSTER_SSH_PORT,
            login=self.CLUSTER_LOGIN,
        )
        return {only.name: only}

    def cluster(self, name: str | None) -> Cluster:
        """The cluster of that name, the default one for None; UnknownAction when there is none."""
        clusters = self.clusters()
        if not clusters:
            raise InvalidSettings("no cluster is configured: set CLUSTER_ADDRESS in config.env")
        if name is None:
            return next(iter(clusters.values()))
        if name not in clusters:
            raise UnknownAction(f"there is no cluster {name!r}; there is {', '.join(clusters)}")
        return clusters[name]

    def policy(self) -> Policy:
        """Who may do what; without POLICY_FILE everybody everything."""
        return OPEN if self.POLICY_FILE is None else _read_policy(self.POLICY_FILE)

    def setting(self, name: str) -> str | None:
        """A setting for an operator's own use: config.env, overridden by the environment.

        None when it is unset or empty, and for the service's own (SECRET_KEY is no operator's).
        """
        if name in type(self).model_fields:
            return None
        return os.environ.get(name) or self.own.get(name) or None


@dataclass(frozen=True)
class _Line:
    """One `KEY=value` of the file."""

    number: int
    key: str
    value: str


def load_settings(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read `file` (RESOP_CONFIG, else ./config.env) and the environment; `KEY=` leaves it unset.

    Raises InvalidSettings, naming file and line, for a line that cannot be read, a value of the
    wrong kind, and a name that is likely a misspelling of a known one.
    """
    environ = os.environ if environ is None else environ
    file = file or Path(environ.get("RESOP_CONFIG", CONFIG_FILE))
    lines = _read_file(file) if file.is_file() else []
    if not lines and "RESOP_CONFIG" in environ and not file.is_file():
        raise InvalidSettings(f"RESOP_CONFIG: {file} is not a file")
    where = {line.key: f"{file}:{line.number}" for line in lines}
    known = set(Settings.model_fields) - {"own"}
    given = {line.key: line.value for line in lines if line.key in known}
    given |= {name: environ[name] for name in known if name in environ}
    where |= dict.fromkeys(known & set(environ), "environment")
    own = {line.key: line.value for line in lines if line.key not in known}
    _refuse_misspellings(own, known, where)
    for (name, former), value in RENAMED_VALUES.items():
        if given.get(name) == former:
            raise InvalidSettings(f"{where[name]}: {name}={former} is now {name}={value}")
    try:
        settings = Settings(**{k: v for k, v in given.items() if v != ""}, own=own)  # type: ignore[arg-type]
    except ValidationError as fault:
        raise InvalidSettings(_explain(fault, where, file)) from None
    # What is wrong with these is found at start-up.
    settings.clusters()
    settings.policy()
    return settings


def _read_file(file: Path) -> list[_Line]:
    lines: dict[str, _Line] = {}
    try:
        with file.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as fault:
        raise InvalidSettings(f"{file}: {fault}") from None
    for binding in bindings:
        # The parser counts the blank and comment lines before a binding as part of it.
        text = binding.original.string
        number = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            # Without the line itself, which may hold a secret.
            raise InvalidSettings(f"{file}:{number}: not of the form KEY=value")
        if binding.key is None or binding.value is None:
            continue
        if binding.key in lines:
            raise InvalidSettings(
                f"{file}:{number}: {binding.key} is set twice; "
                f"the first time in line {lines[binding.key].number}"
            )
        lines[binding.key] = _Line(number, binding.key, binding.value)
    return list(lines.values())


def _refuse_misspellings(own: Mapping[str, str], known: set[str], where: Mapping[str, str]) -> None:
    for name in own:
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.85)
        near += [each for each in known if sorted(each) == sorted(name.upper())]  # PROT
        if near:
            raise InvalidSettings(f"{where[name]}: unknown setting {name}; did you mean {near[0]}?")


def _explain(fault: ValidationError, where: Mapping[str, str], file: Path) -> str:
    faults = []
    for error in fault.errors():
        message = error["msg"].removeprefix("Value error, ")
        if error["loc"]:
            message = f"{error['loc'][0]}: {message}"
        # Every message begins with the setting that it is about.
        name = re.match(r"\w*", message)
        faults.append(f"{where.get(name[0] if name else '', file)}: {message}")
    return "; ".join(faults)


def _first_message(fault: ValidationError) -> str:
    return fault.errors()[0]["msg"].removeprefix("Value error, ")


def _refuse_weak(key: str) -> None:
    if len(key) < SHORTEST_SECRET_KEY:
        raise ValueError(
            f"SECRET_KEY has {len(key)} characters, {SHORTEST_SECRET_KEY} are needed: "
            "make one with: openssl rand -base64 48"
        )
    if len(set(key)) < SHORTEST_SECRET_KEY / 4 or any(word in key.lower() for word in EXAMPLES):
        raise ValueError("SECRET_KEY is an example: make one with: openssl rand -base64 48")


def _kept_key(file: Path) -> bytes:
    try:
        if not file.exists():
            _make_key(file)
        kept = file.read_bytes().strip()
    except OSError as fault:
        raise InvalidSettings(f"DATA_DIR: the secret key cannot be kept: {fault}") from None
    if len(kept) < SHORTEST_SECRET_KEY:
        raise InvalidSettings(f"{file}: the kept secret key is damaged")
    return kept


def _make_key(file: Path) -> None:
    """Make the file, complete at once: of several starting processes one does, all read it."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, made = tempfile.mkstemp(dir=file.parent, prefix="secret_key.")  # mode 600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_urlsafe(48).encode())
            stream.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(made, file)
    finally:
        Path(made).unlink()


# Once: what is edited meanwhile counts from the next start on.
_read_policy = functools.cache(load_policy)


@functools.cache
def _read_clusters(file: Path) -> dict[str, Cluster]:
    """A YAML list of `{name, address, ssh_port, known_hosts?, login?}`."""
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError) as fault:
        reason = " ".join(str(fault).split())
        raise InvalidSettings(f"CLUSTERS_FILE: {file}: {reason}") from None
    if not isinstance(entries, list) or not entries:
        raise InvalidSettings(f"CLUSTERS_FILE: {file}: a list is expected: '- name: …'")
    try:
        clusters = [Cluster.model_validate(entry) for entry in entries]
    except ValidationError as fault:
        field = ".".join(map(str, fault.errors()[0]["loc"])) or "entry"
        raise InvalidSettings(f"CLUSTERS_FILE: {file}: {field}: {_first_message(fault)}") from None
    if len({cluster.name for cluster in clusters}) < len(clusters):
        raise InvalidSettings(f"CLUSTERS_FILE: {file}: two clusters have the same name")
    return {cluster.name: cluster for cluster in clusters}
