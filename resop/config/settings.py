"""The settings: one typed class, read from config.env and the environment at start-up."""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from resop.config.clusters import (
    Cluster,
    ClusterName,
    LoginKind,
    SshAddress,
    SshPort,
    read_clusters,
)
from resop.config.config_file import read_config_file, refuse_former_names, refuse_misspellings
from resop.config.login_prompts import Prompts
from resop.config.name_patterns import read_identities
from resop.config.openid import REDIRECT_PATH, TOKEN_ALGORITHMS, words
from resop.config.policy import OPEN, Policy, load_policy
from resop.config.redis_address import read_redis_address
from resop.config.secret_files import SUFFIX, read_secret_file, read_secret_files
from resop.config.secret_key import refuse_weak_key, stored_key
from resop.config.ssh_algorithms import algorithm_names
from resop.config.webhook_hosts import WebhookHosts, webhook_key
from resop.errors import Forbidden, InvalidSettings, UnknownAction
from resop.security.identity import Identity
from resop.types import ErrorMessage, Secret

CONFIG_FILE = "config.env"
ADMINISTRATORS = "ADMINISTRATORS"
"""The setting that names the users who may use services' passwords."""
UNIX_SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less its final NUL

_HOST = r"((\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"

ROOT_PATH_PATTERN = r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$"

Switch = Annotated[bool, ErrorMessage("must be true or false")]
Count = Annotated[int, Field(ge=1), ErrorMessage("must be a whole number, at least 1")]

HttpBytes = Annotated[
    int,
    Field(ge=1024, le=1 << 20),
    ErrorMessage("must be a whole number of bytes from 1024 to 1048576"),
]
Seconds = Annotated[
    float,
    Field(ge=1, le=3600),
    ErrorMessage("must be a number of seconds from 1 to 3600"),
]


class Settings(BaseModel):
    """All settings with their defaults; `config.env` explains each in one line."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    HOST: str = "127.0.0.1"
    PORT: Annotated[
        int,
        Field(ge=0, le=65535),
        ErrorMessage("must be a port number from 1 to 65535, or 0 for any free port"),
    ] = 3000
    PUBLISHED_ADDRESS: str | None = None
    ENABLE_HTTPS: Switch = False
    SSL_PRIVATE_KEY: Path | None = None
    SSL_CERTIFICATE: Path | None = None
    TRUSTED_PROXIES: str = ""
    ROOT_PATH: Annotated[
        str,
        Field(pattern=ROOT_PATH_PATTERN),
        ErrorMessage("must be a path such as /resop, without a slash at its end"),
    ] = ""
    ALLOWED_HOSTS: Annotated[
        str,
        Field(pattern=rf"^({_HOST}( *, *{_HOST})*)?$"),
        ErrorMessage(
            "must be names such as resop.example.org or *.example.org, without a port, "
            "separated by ','"
        ),
    ] = ""
    CORS_ORIGINS: Annotated[
        str,
        Field(pattern=r"^(https?://[^/,\s]+( *, *https?://[^/,\s]+)*)?$"),
        ErrorMessage("must be origins such as https://portal.example.org, separated by ','"),
    ] = ""

    API_DOCS: Switch = True

    CLUSTER_NAME: ClusterName = "cluster"
    CLUSTER_ADDRESS: SshAddress | None = None
    CLUSTER_SSH_PORT: SshPort = 22
    CLUSTER_LOGIN: LoginKind = "key"
    CLUSTER_PROMPTS: Prompts | None = None
    CLUSTERS_FILE: Path | None = None
    KNOWN_HOSTS: str | None = None
    SSH_SOURCES: str = ""
    LOGIN_SECONDS: Seconds = 30
    SSH_ALGORITHMS: str = ""
    REMOTE_RUNNER: Annotated[Literal["auto", "off"], ErrorMessage("must be auto or off")] = "auto"

    USER_CA_KEY: Path | None = None
    OIDC_ISSUER: str | None = None
    OIDC_AUDIENCE: str | None = None
    OIDC_KEYS: str | None = None
    OIDC_CLAIM: str = "preferred_username"
    OIDC_USERS: Path | None = None
    OIDC_MIN_UID: Annotated[
        int, Field(ge=0), ErrorMessage("must be a whole number, at least 0")
    ] = 1000
    OIDC_CLIENTS: str = ""
    OIDC_MAX_AGE: Annotated[
        int, Field(ge=10, le=7 * 86_400), ErrorMessage("must be seconds from 10 to 604800")
    ] = 3600
    OIDC_ALGORITHMS: str = ""
    OIDC_ACR: str = ""
    OIDC_AMR: str = ""
    OIDC_ACCESS_TOKENS: Switch = False
    OIDC_REDIRECT_URI: str | None = None
    OIDC_CLIENT_SECRET: Secret | None = None
    OIDC_SCOPE: str = "openid"

    SECRET_KEY: Secret | None = None
    SECRET_KEY_OLD: Secret | None = None
    DATA_DIR: Path = Path("data")
    REDIS_URL: Annotated[
        str | None,
        Field(pattern=r"^(rediss?(\+sentinel)?|sentinel)://"),
        ErrorMessage(
            "must be an address that begins with redis:// or rediss://, or with sentinels "
            "redis+sentinel:// or rediss+sentinel://"
        ),
    ] = None
    DATABASE_URL: Annotated[
        str | None,
        Field(pattern=r"^(sqlite:///|(mysql|mariadb)\+pymysql://)"),
        ErrorMessage("must begin with sqlite:///, mysql+pymysql:// or mariadb+pymysql://"),
    ] = None
    OPERATORS_PATH: str = ""
    POLICY_FILE: Path | None = None

    SYNC_WAIT: Annotated[
        float,
        Field(ge=0, le=3600),
        ErrorMessage("must be a number of seconds from 0 to 3600"),
    ] = 30
    TASK_TIMEOUT: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False),
        ErrorMessage("must be a finite number of seconds above 0"),
    ] = 3600
    QUEUED_TASKS: Count = 1000
    TOKEN_HOURS: Annotated[
        float,
        Field(gt=0, le=24 * 30),
        ErrorMessage("must be a number of hours above 0, at most 720"),
    ] = 8
    LOGINS_PER_USER: Count = 50
    APPROVAL_HOURS: Annotated[
        float,
        Field(gt=0, le=24 * 30),
        ErrorMessage("must be a number of hours above 0, at most 720"),
    ] = 24
    LOGIN_HOURS: Annotated[
        float | None,
        Field(gt=0, le=24 * 30),
        ErrorMessage("must be a number of hours above 0, at most 720"),
    ] = None
    API_KEY_DAYS: Annotated[
        float,
        Field(ge=0, le=3660),
        ErrorMessage("must be a number of days from 0 to 3660"),
    ] = 90
    WORKER_TASKS: Count = 500
    BATCH_SIZE: Annotated[
        int,
        Field(ge=1, le=100_000),
        ErrorMessage("must be a whole number from 1 to 100000"),
    ] = 10_000
    BATCH_AT_ONCE: Count = 32
    HISTORY_DAYS: Annotated[
        int,
        Field(ge=0, le=100_000),
        ErrorMessage("must be a whole number of days from 0 to 100000"),
    ] = 365

    CONNECTIONS: Count = 4000
    CONNECTIONS_PER_ADDRESS: Count = 512
    URL_BYTES: HttpBytes = 16_384
    HEADER_BYTES: HttpBytes = 32_768
    HEADER_COUNT: Count = 100
    HEADER_SECONDS: Seconds = 10
    BODY_SECONDS: Seconds = 30
    KEEP_ALIVE_SECONDS: Seconds = 75
    STREAMS_PER_USER: Count = 20
    WAITS_PER_USER: Count = 100
    TRANSFERS_PER_USER: Count = 100

    AUDITORS: str = ""
    AUDIT_FILE: Path | None = None
    AUDIT_SYSLOG: Annotated[
        str | None,
        Field(pattern=r"^((udp|tcp)://([^/\s:\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}|unix:///\S+)$"),
        ErrorMessage("must be udp://HOST:PORT, tcp://HOST:PORT or unix:///dev/log"),
    ] = None

    NOTIFY_HOSTS: str = ""
    NOTIFY_SECRET: Secret | None = None
    NOTIFY_PRIVATE: Switch = False

    LOG_LEVEL: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        ErrorMessage("must be DEBUG, INFO, WARNING or ERROR"),
    ] = "INFO"
    LOG_FORMAT: Annotated[Literal["plain", "json"], ErrorMessage("must be plain or json")] = "plain"
    DEMO_PASSWORD: Secret | None = None

    own: dict[str, str] = Field(default_factory=dict)
    """The settings of operators, by name: `shell.setting("NAME")`."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        # Each message begins with the setting that is wrong or missing.
        _check_https(self)
        _check_sources(self.SSH_SOURCES)
        _check_algorithms(self.SSH_ALGORITHMS)
        _check_clusters(self)
        if self.REDIS_URL is not None:
            read_redis_address(self.REDIS_URL)
        _check_openid(self)
        if self.SECRET_KEY is not None:
            refuse_weak_key(self.SECRET_KEY.get_secret_value())
        if self.LOGIN_HOURS is not None and self.LOGIN_HOURS < self.TOKEN_HOURS:
            raise ValueError("LOGIN_HOURS must not be less than TOKEN_HOURS")
        _check_notifications(self)
        _check_data_folder(self)
        return self

    @property
    def embedded(self) -> bool:
        """True if resop starts its own Redis engine: everything runs on this machine."""
        return self.REDIS_URL is None

    @property
    def redis_socket(self) -> Path:
        """The unix socket of the embedded engine."""
        return self.DATA_DIR.absolute() / "valkey.sock"

    @property
    def ssh_sources(self) -> str:
        """The addresses and networks that may use keys and certificates; empty for all."""
        return ",".join(part.strip() for part in self.SSH_SOURCES.split(",") if part.strip())

    def ssh_algorithms(self, cluster: Cluster) -> tuple[str, ...]:
        """Return the older algorithms that are accepted from a cluster."""
        return (*algorithm_names(self.SSH_ALGORITHMS), *cluster.ssh_algorithms)

    @property
    def host_key_pins(self) -> Path:
        """The file of the host keys that were trusted on first use."""
        return self.DATA_DIR / "known_hosts"

    @property
    def redis_url(self) -> str:
        """The address of Redis, which `read_redis_address` reads."""
        return self.REDIS_URL or f"unix://{self.redis_socket}"

    @property
    def broker_url(self) -> str:
        """The address of one Redis server as Celery writes it."""
        if self.REDIS_URL is None:
            return f"redis+socket://{self.redis_socket}"
        return read_redis_address(self.REDIS_URL).url

    @property
    def database_url(self) -> str:
        """The address of the database for SQLAlchemy."""
        return self.DATABASE_URL or f"sqlite:///{self.DATA_DIR.absolute() / 'resop.db'}"

    @property
    def operator_folders(self) -> list[Path]:
        """The site's own operator folders, in the order of OPERATORS_PATH."""
        return [Path(part).absolute() for part in self.OPERATORS_PATH.split(":") if part]

    @property
    def allowed_hosts(self) -> list[str]:
        """The names of this service, in lower case; empty if any is accepted."""
        return [part.strip().lower() for part in self.ALLOWED_HOSTS.split(",") if part]

    @property
    def cors_origins(self) -> list[str]:
        """The other sites whose pages may call the API."""
        return [part.strip() for part in self.CORS_ORIGINS.split(",") if part]

    @property
    def token_lifetime(self) -> timedelta:
        """How long a token is valid, unless its login ends earlier."""
        return timedelta(hours=self.TOKEN_HOURS)

    @property
    def login_lifetime(self) -> timedelta:
        """How long a login lasts: within it, a valid token can be renewed."""
        return timedelta(hours=self.LOGIN_HOURS or self.TOKEN_HOURS)

    def secret_key(self) -> bytes:
        """Return SECRET_KEY; on a single machine it is created and stored in DATA_DIR."""
        if self.SECRET_KEY is not None:
            return self.SECRET_KEY.get_secret_value().encode()
        return stored_key(self.DATA_DIR / "secret_key")

    def previous_secret_key(self) -> bytes | None:
        """Return SECRET_KEY_OLD, which still decrypts what it encrypted, or None."""
        return self.SECRET_KEY_OLD.get_secret_value().encode() if self.SECRET_KEY_OLD else None

    @property
    def notify_hosts(self) -> WebhookHosts:
        """The hosts that webhooks may go to."""
        return WebhookHosts(self.NOTIFY_HOSTS)

    def auditors(self) -> frozenset[Identity]:
        """Return the users of AUDITORS. Raises InvalidSettings for one without a cluster."""
        try:
            return read_identities(self.AUDITORS, list(self.clusters()))
        except ValueError as fault:
            raise InvalidSettings(f"AUDITORS: {fault}") from None

    def clusters(self) -> dict[str, Cluster]:
        """Return the configured clusters by name; the first one is the default."""
        if self.CLUSTERS_FILE is not None:
            return read_clusters(self.CLUSTERS_FILE)
        if self.CLUSTER_ADDRESS is None:
            return {}
        only = Cluster(
            name=self.CLUSTER_NAME,
            address=self.CLUSTER_ADDRESS,
            ssh_port=self.CLUSTER_SSH_PORT,
            login=self.CLUSTER_LOGIN,
            prompts=self.CLUSTER_PROMPTS or {},
        )
        return {only.name: only}

    def cluster(self, name: str | None) -> Cluster:
        """Return the cluster of that name, or the default one for None.

        Raises UnknownAction if there is none of that name, InvalidSettings if there is none.
        """
        clusters = self.clusters()
        if not clusters:
            raise InvalidSettings("no cluster is configured: set CLUSTER_ADDRESS in config.env")
        if name is None:
            return next(iter(clusters.values()))
        if name not in clusters:
            raise UnknownAction(f"there is no cluster {name!r}; there is {', '.join(clusters)}")
        return clusters[name]

    def certificate_cluster(self) -> Cluster | None:
        """Return the cluster for logins by token: the first one that takes certificates."""
        clusters = self.clusters().values()
        return next((each for each in clusters if each.login == "certificate"), None)

    def policy(self) -> Policy:
        """Return the policy of POLICY_FILE; without a file everything is allowed."""
        if self.POLICY_FILE is None:
            return OPEN
        return _read_policy(self.POLICY_FILE, tuple(self.clusters()))

    def administrators(self) -> frozenset[Identity]:
        """Return the users of ADMINISTRATORS. Raises InvalidSettings for one without a cluster."""
        try:
            return read_identities(self.setting(ADMINISTRATORS) or "", list(self.clusters()))
        except ValueError as fault:
            raise InvalidSettings(f"{ADMINISTRATORS}: {fault}") from None

    def setting(self, name: str) -> str | None:
        """Return an operator's setting from the environment or config.env, or from its file.

        None if it is unset or empty, and for the service's own settings, such as SECRET_KEY.
        Raises InvalidSettings if the file that NAME_FILE names cannot be read.
        """
        if name in type(self).model_fields:
            return None
        value = os.environ.get(name) or self.own.get(name)
        if not value and (file := os.environ.get(name + SUFFIX) or self.own.get(name + SUFFIX)):
            value = read_secret_file(Path(file), name + SUFFIX)
        return value or None

    def cluster_setting(self, name: str, cluster: str, *, secret: bool = False) -> str | None:
        """Return an operator's setting for a task on a cluster, or None.

        With several clusters, raises Forbidden for a secret that is not bound to this one, where
        another administrator could read it. A setting that is bound to other clusters is always
        a secret.
        """
        clusters = self.clusters()
        here = clusters.get(cluster)
        own = here.settings.get(name) if here else None
        if own is None and len(clusters) > 1:
            bound_to = [each.name for each in clusters.values() if name in each.secrets]
            if (secret or bound_to) and cluster not in bound_to:
                raise Forbidden(
                    f"the secret setting {name} may not be sent to {cluster}: CLUSTERS_FILE lists "
                    f"it in the 'secrets' of {' and '.join(bound_to) or 'no cluster'}"
                )
        return own or self.setting(name)


SECRETS = (
    *("SECRET_KEY", "SECRET_KEY_OLD", "NOTIFY_SECRET", "DEMO_PASSWORD"),
    *("OIDC_CLIENT_SECRET", "REDIS_URL", "DATABASE_URL"),
)
"""The settings that contain a secret, and can be in a file: `SECRET_KEY_FILE`."""


def _check_https(settings: Settings) -> None:
    if settings.ENABLE_HTTPS:
        for name in ("SSL_PRIVATE_KEY", "SSL_CERTIFICATE"):
            path = getattr(settings, name)
            if path is None:
                raise ValueError(f"ENABLE_HTTPS needs {name}, a PEM file")
            if not path.is_file():
                raise ValueError(f"ENABLE_HTTPS needs {name}: {path} is not a file")


def _check_sources(sources: str) -> None:
    for part in filter(None, map(str.strip, sources.split(","))):
        try:
            ipaddress.ip_network(part)
        except ValueError as fault:
            raise ValueError(f"SSH_SOURCES: {fault}") from None


def _check_algorithms(names: str) -> None:
    try:
        algorithm_names(names)
    except ValueError as fault:
        raise ValueError(f"SSH_ALGORITHMS: {fault}") from None


def _check_clusters(settings: Settings) -> None:
    clusters = settings.clusters().values()
    if not settings.embedded:
        if settings.SECRET_KEY is None:
            raise ValueError("SECRET_KEY is needed when REDIS_URL is set; see config.env")
        if settings.KNOWN_HOSTS is None and any(each.known_hosts is None for each in clusters):
            raise ValueError(
                "KNOWN_HOSTS is needed when REDIS_URL is set: "
                "only a single machine trusts a host key on first use"
            )
    if settings.USER_CA_KEY is None and any(each.login == "certificate" for each in clusters):
        raise ValueError("USER_CA_KEY is needed for a cluster with the login 'certificate'")


def _check_openid(settings: Settings) -> None:
    issuer = settings.OIDC_ISSUER
    if issuer is None:
        return
    if settings.OIDC_AUDIENCE is None:
        raise ValueError("OIDC_AUDIENCE is needed with OIDC_ISSUER: the id of this client there")
    if settings.OIDC_KEYS is None and not issuer.startswith("https://"):
        raise ValueError("OIDC_ISSUER must be an https address, unless OIDC_KEYS is set")
    if unknown := set(words(settings.OIDC_ALGORITHMS)) - set(TOKEN_ALGORITHMS):
        known = ", ".join(TOKEN_ALGORITHMS)
        raise ValueError(f"OIDC_ALGORITHMS: {', '.join(sorted(unknown))} is none of {known}")
    address = settings.OIDC_REDIRECT_URI
    if address is not None:
        local = address.startswith(("http://127.0.0.1:", "http://localhost:"))
        path = settings.ROOT_PATH + REDIRECT_PATH
        if not (address.startswith("https://") or local) or not address.endswith(path):
            raise ValueError(
                f"OIDC_REDIRECT_URI must be the https address of this service followed by {path}"
            )


def _check_notifications(settings: Settings) -> None:
    try:
        hosts = settings.notify_hosts
    except ValueError as fault:
        raise ValueError(f"NOTIFY_HOSTS: {fault}") from None
    if hosts and settings.NOTIFY_SECRET is None:
        raise ValueError("NOTIFY_SECRET is needed when NOTIFY_HOSTS is set; see config.env")
    if settings.NOTIFY_SECRET is not None:
        webhook_key(settings.NOTIFY_SECRET)


def _check_data_folder(settings: Settings) -> None:
    if any(sign in str(settings.DATA_DIR.absolute()) for sign in "?#%"):
        raise ValueError(
            "DATA_DIR must not contain '?', '#' or '%', which mean something else in the "
            "addresses of its database and its socket"
        )
    if settings.embedded and len(os.fsencode(settings.redis_socket)) > UNIX_SOCKET_PATH_BYTES:
        raise ValueError(
            f"DATA_DIR: the path of its socket {settings.redis_socket} is longer than "
            f"{UNIX_SOCKET_PATH_BYTES} bytes; choose a shorter folder"
        )


# Read once: an edited file takes effect at the next start.
_read_policy = functools.cache(load_policy)


def load_settings(file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read `file` (RESOP_CONFIG, else ./config.env) and the environment; `KEY=` leaves it unset.

    Raises InvalidSettings, naming file and line, for a line that cannot be read, a wrong value,
    a former name, and a name that is likely a misspelling of a known one.
    """
    environ = os.environ if environ is None else environ
    file = file or Path(environ.get("RESOP_CONFIG", CONFIG_FILE))
    lines = read_config_file(file) if file.is_file() else []
    if not lines and "RESOP_CONFIG" in environ and not file.is_file():
        raise InvalidSettings(f"RESOP_CONFIG: {file} is not a file")
    known = set(Settings.model_fields) - {"own"}
    values = {line.key: line.value for line in lines} | dict(environ)
    places = dict.fromkeys(environ, "environment")
    places |= {line.key: f"{file}:{line.number}" for line in lines if line.key not in environ}
    refuse_former_names(values, places)
    from_files = read_secret_files(values, SECRETS, places)
    places |= {name: places[name + SUFFIX] for name in from_files}
    values |= from_files
    file_names = {name + SUFFIX for name in SECRETS}
    own = {line.key: line.value for line in lines if line.key not in known | file_names}
    refuse_misspellings(
        own, known | file_names, {line.key: f"{file}:{line.number}" for line in lines}
    )
    try:
        settings = Settings(
            **{name: values[name] for name in known if values.get(name)},  # type: ignore[arg-type]
            own=own,
        )
    except ValidationError as fault:
        raise InvalidSettings(_explain(fault, places, file)) from None
    # Faults in these files are found at start-up.
    settings.clusters()
    settings.policy().check_hosts(settings.notify_hosts)
    settings.administrators()
    settings.auditors()
    return settings


def _explain(fault: ValidationError, places: Mapping[str, str], file: Path) -> str:
    """Return the faults as `PLACE: SETTING: MESSAGE`, separated by ';'."""
    faults = []
    for error in fault.errors():
        message = error["msg"].removeprefix("Value error, ")
        if error["loc"]:
            message = f"{error['loc'][0]}: {message}"
        # Every message begins with the setting that it is about.
        name = re.match(r"\w*", message)
        faults.append(f"{places.get(name[0] if name else '', file)}: {message}")
    return "; ".join(faults)
