"""Set passwords: hashed by this service, or by the server, which checks them first.

A server with a password policy (ppolicy) sees no password in a hash: it refuses all hashes, or it
accepts any password. Such a server gets the password itself (Password Modify, RFC 3062).
"""

from __future__ import annotations

from operators.ldap import client
from operators.ldap.diagnosis import CONSTRAINT_VIOLATION, UNWILLING_TO_PERFORM, DirectoryRefusal
from operators.ldap.hashes import HashScheme, hash_password
from operators.ldap.settings import choice_setting
from resop import Secret, Shell

PASSWORD_MODIFY = "1.3.6.1.4.1.4203.1.11.1"  # noqa: S105 # RFC 3062
PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"  # noqa: S105 # draft-behera-ldap-password-policy
DEFAULT_SCHEME: HashScheme = "CRYPT"


def is_checked_by_server(shell: Shell, scheme: HashScheme | None) -> bool:
    """Return True if the server gets passwords as they are, and checks and hashes them.

    The setting LDAP_PASSWORD_MODIFY says so, or by default the server, if it announces a password
    policy. A `scheme` that the caller chooses means a hash by this service.
    """
    if scheme is not None:
        return False
    chosen = choice_setting(shell, "LDAP_PASSWORD_MODIFY", ("auto", "yes", "no"))
    return _announces_policy(shell) if chosen == "auto" else chosen == "yes"


def hash_for_entry(shell: Shell, password: Secret, scheme: HashScheme | None) -> Secret:
    """Return the value of userPassword for a password that the server does not check."""
    return hash_password(shell, password, scheme or DEFAULT_SCHEME)


def set_checked_password(shell: Shell, dn: str, password: Secret) -> None:
    """Let the server set a password; OperationFailed with its reason if the policy refuses it."""
    try:
        client.set_password(shell, dn, password)
    except DirectoryRefusal as refusal:
        if refusal.code in (CONSTRAINT_VIOLATION, UNWILLING_TO_PERFORM):
            shell.fail(f"the directory refuses the password: {refusal.info or refusal.message}")
        raise


def _announces_policy(shell: Shell) -> bool:
    root = client.read(shell, "", "supportedControl", "supportedExtension")
    if root is None:
        return False
    policy = PASSWORD_POLICY in root.values("supportedControl")
    return policy and PASSWORD_MODIFY in root.values("supportedExtension")
