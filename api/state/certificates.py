"""Signs short-lived SSH certificates with the site's user CA (OpenSSH's PROTOCOL.certkeys)."""

from __future__ import annotations

import time
from pathlib import Path

import asyncssh

from resop.errors import InvalidSettings

SKEW_SECONDS = 60
"""The login node's clock may be so much behind ours."""


class UserCA:
    """The site's authority for users; the cluster has its public half in TrustedUserCAKeys."""

    def __init__(self, file: Path) -> None:
        """`file` is a private key without a passphrase; InvalidSettings when it cannot be used."""
        try:
            if file.stat().st_mode & 0o077:
                raise InvalidSettings(f"USER_CA_KEY: {file} can be read by others: chmod 600")
            self._key = asyncssh.read_private_key(file)
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as fault:
            raise InvalidSettings(f"USER_CA_KEY: {file}: {fault}") from None

    def sign(self, public: asyncssh.SSHKey, username: str, name: str, expires: float) -> bytes:
        """A certificate for this user alone until `expires` (Unix time): for commands, no more.

        `name` stands in sshd's log at each login with it.
        """
        certificate = self._key.generate_user_certificate(
            public,
            name,
            principals=[username],
            valid_after=int(time.time()) - SKEW_SECONDS,
            valid_before=int(expires),
            permit_x11_forwarding=False,
            permit_agent_forwarding=False,
            permit_port_forwarding=False,
            permit_pty=False,
            permit_user_rc=False,
        )
        return certificate.export_certificate("openssh")
