"""Sign short-lived SSH certificates with the site's user CA (OpenSSH's PROTOCOL.certkeys)."""

from __future__ import annotations

from pathlib import Path

import asyncssh

from resop.clock import unix_time
from resop.config.settings import Settings
from resop.errors import InvalidSettings

SKEW_SECONDS = 900
"""How far the login node's clock may be behind the service's. No key is older than its certificate,
so a certificate that is valid from earlier on permits nothing more."""


class UserCA:
    """The site's user CA, whose public key the cluster trusts (TrustedUserCAKeys)."""

    def __init__(self, file: Path, sources: str = "") -> None:
        """Read a private key without a passphrase. Raises InvalidSettings if it cannot be used.

        Certificates are valid from `sources` only (addresses and networks, separated by commas),
        or from everywhere.
        """
        self._sources = sources.split(",") if sources else ()
        try:
            if file.stat().st_mode & 0o077:
                raise InvalidSettings(
                    f"USER_CA_KEY: {file} can be read by others: run chmod 600 on it"
                )
            self._key = asyncssh.read_private_key(file)
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as fault:
            raise InvalidSettings(f"USER_CA_KEY: {file}: {fault}") from None

    def sign(
        self, public: asyncssh.SSHKey, username: str, name: str, serial: int, expires: float
    ) -> bytes:
        """Return a certificate for one user, valid until `expires` (Unix time in seconds).

        It permits running commands, but no forwarding and no terminal. sshd logs `name` and
        `serial` at each login with it.
        """
        certificate = self._key.generate_user_certificate(
            public,
            name,
            serial=serial,
            principals=[username],
            source_address=self._sources,
            valid_after=int(unix_time()) - SKEW_SECONDS,
            valid_before=int(expires),
            permit_x11_forwarding=False,
            permit_agent_forwarding=False,
            permit_port_forwarding=False,
            permit_pty=False,
            permit_user_rc=False,
        )
        return certificate.export_certificate("openssh")


def user_ca(settings: Settings) -> UserCA | None:
    """Return the CA of USER_CA_KEY, or None without one. Raises InvalidSettings."""
    if settings.USER_CA_KEY is None:
        return None
    return UserCA(settings.USER_CA_KEY, settings.ssh_sources)
