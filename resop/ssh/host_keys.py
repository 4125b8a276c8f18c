"""The trusted host keys: from a known_hosts file, pinned fingerprints, or the first one seen."""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from resop.config.clusters import Cluster
from resop.config.settings import Settings
from resop.config.ssh_algorithms import HOST_KEY, older
from resop.errors import HostKeyMismatch, InvalidSettings
from resop.ssh.host_names import SSH_PORT, HostNames, host_names
from resop.ssh.known_hosts import KnownKeys, find_host_keys

log = logging.getLogger(__name__)

MAX_REPORTED_LINES = 10

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
    older: tuple[str, ...] = ()
    """Older algorithms that are accepted from this cluster."""

    @property
    def names(self) -> HostNames:
        """The names that known_hosts may have for the login node."""
        return host_names(self.cluster.address, self.cluster.ssh_port)

    def known(self) -> KnownKeys:
        """Return the keys that the file has now. Raises HostKeyMismatch if it cannot be read."""
        try:
            return self.read()
        except InvalidSettings as fault:
            raise HostKeyMismatch(f"{fault.message}: nothing was sent") from None

    def read(self) -> KnownKeys:
        """Return the keys that the file has now. Raises InvalidSettings if it cannot be read."""
        if self.file is None or (self.first_use and not self.file.exists()):
            return KnownKeys()
        try:
            status = self.file.stat()
            return _read(self.file, status.st_mtime_ns, status.st_size, status.st_ino, self.names)
        except FileNotFoundError:
            raise InvalidSettings(self._missing_file(self.file)) from None
        except OSError as fault:
            raise InvalidSettings(f"KNOWN_HOSTS: {self.file}: {fault}") from None

    def _missing_file(self, file: Path) -> str:
        port = "" if self.cluster.ssh_port == SSH_PORT else f"-p {self.cluster.ssh_port} "
        return (
            f"KNOWN_HOSTS: there is no file {file}; make it with: "
            f"ssh-keyscan {port}{self.cluster.address} >{file} "
            "(and compare the fingerprints with the ones that the cluster publishes)"
        )

    def mismatch(self, where: str, known: KnownKeys, presented: str) -> HostKeyMismatch:
        """Return the error for a key that is not trusted, by its fingerprint."""
        name = self.names.with_port[0]
        if self.fingerprints:
            expected = "which is none of the fingerprints in KNOWN_HOSTS"
        elif known.is_empty:
            expected = f"but {self.file} has no key of {name}"
        else:
            expected = f"which is not the known one: {self.file} has others for {name}"
        return HostKeyMismatch(
            f"{where} presented the host key {presented}, {expected}: nothing was sent"
        )

    def algorithms(self, known: KnownKeys, *, certificates: bool = True) -> list[str]:
        """List the key algorithms to request, known ones first: a server presents one key only."""
        kinds = {key.get_algorithm().replace("ssh-rsa", "rsa") for key in known.keys}
        plain = [*PLAIN_KEYS, *older(HOST_KEY, self.older)]
        plain.sort(key=lambda kind: kind not in kinds and not (_is_rsa(kind) and "rsa" in kinds))
        certified = PLAIN_KEYS if certificates and known.authorities else ()
        return [*(f"{kind}-cert-v01@openssh.com" for kind in certified), *plain]

    def trusts(self, key: asyncssh.SSHKey) -> bool:
        """Return whether to trust a key that is not in the known_hosts file."""
        if not self.first_use:
            return key.get_fingerprint() in self.fingerprints
        known = self.read()
        if known.keys:
            return key in known.keys
        self._pin(key)
        return True

    def _pin(self, key: asyncssh.SSHKey) -> None:
        assert self.file is not None
        host = self.names.with_port[0]
        line = f"{host} {key.export_public_key('openssh').decode().strip()}\n"
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "w") as stream:
                stream.write(line)
        except OSError as fault:
            raise InvalidSettings(f"DATA_DIR: the host key cannot be written: {fault}") from None
        log.warning("host key of %s pinned at first use: %s", host, key.get_fingerprint())


def _is_rsa(algorithm: str) -> bool:
    return "rsa" in algorithm


def load_host_keys(cluster: Cluster, settings: Settings) -> HostKeys:
    """Return the trusted host keys of `cluster` according to the settings.

    Raises InvalidSettings when KNOWN_HOSTS names no readable file and no fingerprints.
    """
    known = cluster.known_hosts or settings.KNOWN_HOSTS
    accepted = settings.ssh_algorithms(cluster)
    if known is None:
        return HostKeys(cluster, settings.host_key_pins, first_use=True, older=accepted)
    if known.startswith("SHA256:"):
        pinned = frozenset(each.strip() for each in known.split(","))
        if wrong := [each for each in pinned if not each.startswith("SHA256:")]:
            raise InvalidSettings(f"KNOWN_HOSTS: {wrong[0]!r} is not a fingerprint (SHA256:…)")
        return HostKeys(cluster, fingerprints=pinned, older=accepted)
    keys = HostKeys(cluster, Path(known), older=accepted)
    keys.read()  # report an unreadable file at start-up, not at a login
    return keys


@functools.lru_cache(maxsize=64)  # the file of a site may have thousands of lines
def _read(file: Path, modified: int, size: int, inode: int, names: HostNames) -> KnownKeys:
    content = file.read_bytes()
    known = find_host_keys(content, names.with_port)
    if names.without_port != names.with_port:
        known.add_default(find_host_keys(content, names.without_port))
    if known.skipped:
        numbers = ", ".join(map(str, known.skipped[:MAX_REPORTED_LINES]))
        more = ", …" if len(known.skipped) > MAX_REPORTED_LINES else ""
        log.warning("KNOWN_HOSTS: %s: lines that cannot be read: %s%s", file, numbers, more)
    return known
