"""Which host keys are believed: a known_hosts file, pinned fingerprints, or the first one seen."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import asyncssh

from resop.errors import InvalidSettings
from resop.settings import Cluster, Settings

log = logging.getLogger(__name__)

Believes = Callable[[asyncssh.SSHKey], bool]

PINS_FILE = "known_hosts"


def believer(cluster: Cluster, settings: Settings) -> Believes:
    """Return what tells whether a host key that `cluster` shows is the right one.

    Raises InvalidSettings when KNOWN_HOSTS names no readable file.
    """
    known = cluster.known_hosts or settings.KNOWN_HOSTS
    if known is None:
        return _first_use(cluster, settings.DATA_DIR / PINS_FILE)
    if known.startswith("SHA256:"):
        pinned = {each.strip() for each in known.split(",")}
        return lambda key: key.get_fingerprint() in pinned
    file = Path(known)
    _listed(cluster, file)  # a file that cannot be read is found at start-up, not at a login
    return lambda key: key in _listed(cluster, file)


def _listed(cluster: Cluster, file: Path) -> list[asyncssh.SSHKey]:
    try:
        hosts = asyncssh.read_known_hosts(str(file))
    except (OSError, ValueError) as fault:
        raise InvalidSettings(f"KNOWN_HOSTS: {file}: {fault}") from None
    trusted, *_ = hosts.match(cluster.address, "", cluster.ssh_port)
    return list(trusted)


def _first_use(cluster: Cluster, pins: Path) -> Believes:
    """Believe the first key and keep it: for a single machine in development only."""

    def believes(key: asyncssh.SSHKey) -> bool:
        known = _listed(cluster, pins) if pins.is_file() else []
        if known:
            return key in known
        host = f"[{cluster.address}]:{cluster.ssh_port}"
        line = f"{host} {key.export_public_key('openssh').decode().strip()}\n"
        pins.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(pins, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(line)
        log.warning("host key of %s pinned at first use: %s", host, key.get_fingerprint())
        return True

    return believes
