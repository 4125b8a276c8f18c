"""Find what is weak in a configuration; the service says it when it starts, and `resop doctor`."""

from __future__ import annotations

import ipaddress
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from resop.config.redis_address import read_redis_address
from resop.config.settings import CONFIG_FILE, Settings
from resop.config.ssh_algorithms import algorithm_names

log = logging.getLogger(__name__)

CHANGEABLE_CLAIMS = ("preferred_username", "email", "name", "nickname")
"""Claims that must not be relied upon to be unique (OpenID Connect Core 1.0, 5.7)."""


def find_weaknesses(settings: Settings, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return what is weak, one sentence each that begins with the setting; empty if nothing is."""
    environ = os.environ if environ is None else environ
    found = [sentence for check in _CHECKS for sentence in check(settings)]
    return [*found, *_config_file(settings, environ)]


def log_weaknesses(settings: Settings) -> None:
    """Write a warning for each weakness."""
    for sentence in find_weaknesses(settings):
        log.warning("weak configuration: %s", sentence)


def _plain_http(settings: Settings) -> Iterator[str]:
    address = settings.PUBLISHED_ADDRESS or settings.HOST
    if not (settings.ENABLE_HTTPS or settings.TRUSTED_PROXIES or _is_loopback(address)):
        yield (
            f"HOST: passwords and tokens are received without encryption on {address}: set "
            "ENABLE_HTTPS, or listen on 127.0.0.1 for a proxy that speaks HTTPS and name it in "
            "TRUSTED_PROXIES"
        )


def _open_redis(settings: Settings) -> Iterator[str]:
    if settings.REDIS_URL is None:
        return
    address = read_redis_address(settings.REDIS_URL)
    url = urlsplit(address.url)
    if not url.password:
        yield "REDIS_URL: Redis asks for no password: set requirepass there, and name it here"
    if url.scheme == "redis" and "." in (url.hostname or "") and not _is_loopback(url.hostname):
        scheme = "rediss+sentinel://" if address.sentinels else "rediss://"
        yield f"REDIS_URL: {url.hostname} is reached without encryption: use {scheme}"


def _database_user(settings: Settings) -> Iterator[str]:
    if settings.DATABASE_URL and urlsplit(settings.DATABASE_URL).username == "root":
        yield (
            "DATABASE_URL: the service is root in the database: give it a user with the rights "
            "listed in docs/security.md"
        )


def _host_keys(settings: Settings) -> Iterator[str]:
    if settings.KNOWN_HOSTS is not None or settings.host_key_pins.exists():
        return
    for cluster in settings.clusters().values():
        if cluster.known_hosts is None and not _is_loopback(cluster.address):
            yield (
                f"KNOWN_HOSTS: the first host key that {cluster.name} shows will be trusted: name "
                "a known_hosts file or the fingerprints"
            )


def _older_algorithms(settings: Settings) -> Iterator[str]:
    if names := algorithm_names(settings.SSH_ALGORITHMS):
        yield (
            f"SSH_ALGORITHMS: {', '.join(names)} can be broken: limit it to the cluster that needs "
            "it, with ssh_algorithms in CLUSTERS_FILE"
        )


def _private_files(settings: Settings) -> Iterator[str]:
    for name in ("SSL_PRIVATE_KEY", "USER_CA_KEY"):
        file: Path | None = getattr(settings, name)
        if file is not None:
            yield from _readable_by_all(name, file)


def _changeable_claim(settings: Settings) -> Iterator[str]:
    claim = settings.OIDC_CLAIM
    if settings.OIDC_ISSUER and settings.OIDC_USERS is None and claim in CHANGEABLE_CLAIMS:
        yield (
            f"OIDC_CLAIM: a person who may change {claim} at the issuer becomes another user: use "
            "sub, with OIDC_USERS"
        )


def _config_file(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    file = Path(environ.get("RESOP_CONFIG", CONFIG_FILE))
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if any(_sets_secret(line) for line in text.splitlines()):
        yield from _readable_by_all("RESOP_CONFIG", file)
    yield from _writable_by_others("RESOP_CONFIG", file)
    if settings.POLICY_FILE is not None:
        yield from _writable_by_others("POLICY_FILE", settings.POLICY_FILE)


def _sets_secret(line: str) -> bool:
    name, _, value = line.partition("=")
    secret = any(part in name for part in ("PASSWORD", "SECRET", "_KEY", "_URL"))
    return secret and not name.lstrip().startswith("#") and bool(value.strip(" '\""))


def _readable_by_all(name: str, file: Path) -> Iterator[str]:
    if (mode := _mode(file)) & (stat.S_IROTH | stat.S_IWOTH):
        yield f"{name}: every user of this machine can read {file} (mode 0{mode:o}): chmod o= it"


def _writable_by_others(name: str, file: Path) -> Iterator[str]:
    if (mode := _mode(file)) & stat.S_IWOTH:
        yield f"{name}: every user of this machine can change {file} (mode 0{mode:o}): chmod o-w it"


def _mode(file: Path) -> int:
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return 0  # what cannot be read is reported where it is used


def _is_loopback(host: str | None) -> bool:
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


_CHECKS: tuple[Callable[[Settings], Iterator[str]], ...] = (
    _plain_http,
    _open_redis,
    _database_user,
    _host_keys,
    _older_algorithms,
    _private_files,
    _changeable_claim,
)
