"""The trusted host keys: from a known_hosts file, pinned fingerprints, or the first one seen."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from resop.config.clusters import Cluster
from resop.config.settings import Settings
from resop.errors import InvalidSettings

log = logging.getLogger(__name__)

SSH_PORT = 22

# In OpenSSH's order. asyncssh prefers certificates: a server that has one would present it, and be
# refused where only its key is known.
PLAIN_KEYS = (
    "ssh-ed25519",
    *("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)


@dataclass(frozen=True, slots=True)
class HostKeys:
    """The trusted host keys of one cluster."""

    cluster: Cluster
    file: Path | None = None
    """A known_hosts file, which may contain hashed names, authorities and revoked keys."""
    fingerprints: frozenset[str] = frozenset()
    first_use: bool = False
    """Trust and pin the first key: only for a single machine in development."""

    def known_hosts(self) -> asyncssh.SSHKnownHosts:
        """Read the file as it is now; raises InvalidSettings if that fails."""
        if self.file is None or (self.first_use and not self.file.exists()):
            return asyncssh.import_known_hosts("")
        try:
            status = self.file.stat()
            return _read(self.file, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            raise InvalidSettings(self._missing_file(self.file)) from None
        except (OSError, ValueError) as fault:
            raise InvalidSettings(f"KNOWN_HOSTS: {self.file}: {fault}") from None

    def _missing_file(self, file: Path) -> str:
        port = "" if self.cluster.ssh_port == SSH_PORT else f"-p {self.cluster.ssh_port} "
        return (
            f"KNOWN_HOSTS: there is no file {file}; make it with: "
            f"ssh-keyscan {port}{self.cluster.address} >{file} "
            "(and compare the fingerprints with the ones that the cluster publishes)"
        )

    def algorithms(self, known_hosts: asyncssh.SSHKnownHosts) -> list[str]:
        """List the key algorithms to request, known ones first: a server presents one key only."""
        keys, authorities = self._match(known_hosts)
        kinds = {key.get_algorithm().replace("ssh-rsa", "rsa-sha2-512") for key in keys}
        certificates = [f"{kind}-cert-v01@openssh.com" for kind in PLAIN_KEYS if authorities]
        return [*certificates, *sorted(PLAIN_KEYS, key=lambda kind: kind not in kinds)]

    def trusts(self, key: asyncssh.SSHKey) -> bool:
        """Return whether to trust a key that is not in the known_hosts file."""
        if not self.first_use:
            return key.get_fingerprint() in self.fingerprints
        known, _ = self._match(self.known_hosts())
        if known:
            return key in known
        self._pin(key)
        return True

    def _match(
        self, known_hosts: asyncssh.SSHKnownHosts
    ) -> tuple[Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]]:
        """Return the known keys of the cluster, and of authorities that certify it."""
        port = self.cluster.ssh_port
        keys, authorities, *_ = asyncssh.match_known_hosts(
            known_hosts, self.cluster.address, "", None if port == SSH_PORT else port
        )
        return keys, authorities

    def _pin(self, key: asyncssh.SSHKey) -> None:
        assert self.file is not None
        address, port = self.cluster.address, self.cluster.ssh_port
        host = address if port == SSH_PORT else f"[{address}]:{port}"
        line = f"{host} {key.export_public_key('openssh').decode().strip()}\n"
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(line)
        except OSError as fault:
            raise InvalidSettings(f"DATA_DIR: the host key cannot be written: {fault}") from None
        log.warning("host key of %s pinned at first use: %s", host, key.get_fingerprint())


def load_host_keys(cluster: Cluster, settings: Settings) -> HostKeys:
    """Return the trusted host keys of `cluster` according to the settings.

    Raises InvalidSettings when KNOWN_HOSTS names no readable file and no fingerprints.
    """
    known = cluster.known_hosts or settings.KNOWN_HOSTS
    if known is None:
        return HostKeys(cluster, settings.host_key_pins, first_use=True)
    if known.startswith("SHA256:"):
        pinned = frozenset(each.strip() for each in known.split(","))
        if wrong := [each for each in pinned if not each.startswith("SHA256:")]:
            raise InvalidSettings(f"KNOWN_HOSTS: {wrong[0]!r} is not a fingerprint (SHA256:…)")
        return HostKeys(cluster, fingerprints=pinned)
    keys = HostKeys(cluster, Path(known))
    keys.known_hosts()  # report an unreadable file at start-up, not at a login
    return keys


@functools.lru_cache(maxsize=8)  # a site's file may hold thousands of keys
def _read(file: Path, modified: int, size: int) -> asyncssh.SSHKnownHosts:
    return asyncssh.read_known_hosts(str(file))
