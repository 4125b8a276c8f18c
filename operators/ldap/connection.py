"""Connect the clients to the directory, and bind.

The service's account binds with a password (LDAP_BIND_DN, LDAP_BIND_PASSWORD), which the clients
read from a pipe. With LDAP_SASL_MECH the logged-in user binds instead: with a Kerberos ticket
(GSSAPI), or with a client certificate or the account itself (EXTERNAL).
"""

from __future__ import annotations

import posixpath

from operators.ldap.settings import choice_setting
from resop import Secret, Shell

TIMEOUTS = "export LDAPTIMEOUT=10 LDAPNETWORK_TIMEOUT=10; "
# The first line of standard input is the password, the rest is for the client. The clients read a
# password from a file (-y) and LDIF from standard input, so the password gets its own pipe.
PASSWORD_SCRIPT = (
    f"{TIMEOUTS}IFS= read -r p; c=$1; shift; "
    '{ printf %s "$p" | "$c" -y /dev/fd/3 "$@" 3<&0 <&5; } 5<&0'
)
SASL_SCRIPT = f'{TIMEOUTS}exec "$@"'
TLS_FILES = {
    "LDAP_TLS_CACERT": "LDAPTLS_CACERT",
    "LDAP_TLS_CERT": "LDAPTLS_CERT",
    "LDAP_TLS_KEY": "LDAPTLS_KEY",
}
"""Settings that name files on the login node, and the clients' variables (ldap.conf(5))."""


def sasl_mechanism(shell: Shell) -> str | None:
    """Return the SASL mechanism to bind with, or None for a bind with a password."""
    mechanism = choice_setting(shell, "LDAP_SASL_MECH", ("none", "EXTERNAL", "GSSAPI"))
    return None if mechanism == "none" else mechanism


def starts_tls(shell: Shell) -> bool:
    """Return True if the connection has to be encrypted by StartTLS (LDAP_START_TLS)."""
    return choice_setting(shell, "LDAP_START_TLS", ("no", "yes")) == "yes"


def uses_tls(shell: Shell) -> bool:
    """Return True if the connection is encrypted."""
    return starts_tls(shell) or shell.setting("LDAP_URI").startswith("ldaps:")


def command_line(shell: Shell, program: str, *arguments: str) -> list[str]:
    """Return the command line that runs a client with these arguments."""
    mechanism = sasl_mechanism(shell)
    bind = ["-Q", "-Y", mechanism] if mechanism else ["-x", "-D", shell.setting("LDAP_BIND_DN")]
    return [_path(shell, program), *_server(shell), *bind, *arguments]


def anonymous_command_line(shell: Shell, program: str) -> list[str]:
    """Return the command line that runs a client without a bind."""
    return [_path(shell, program), *_server(shell), "-x"]


def launcher(shell: Shell, **variables: str) -> list[str]:
    """Return what prepares the environment and the standard input of a client."""
    files = {variable: shell.setting(name, "") for name, variable in TLS_FILES.items()}
    assignments = [f"{name}={value}" for name, value in {**files, **variables}.items() if value]
    script = SASL_SCRIPT if sasl_mechanism(shell) else PASSWORD_SCRIPT
    return [*(["env", *assignments] if assignments else []), "sh", "-c", script, "ldap"]


def anonymous_launcher(shell: Shell, **variables: str) -> list[str]:
    """Return what prepares the environment of a client that does not bind."""
    return [*launcher(shell, **variables)[:-2], SASL_SCRIPT, "ldap"]


def password_line(shell: Shell) -> list[str | Secret]:
    """Return the beginning of a client's standard input: the password, if it binds with one."""
    if sasl_mechanism(shell):
        return []
    return [shell.secret("LDAP_BIND_PASSWORD"), "\n"]


def _server(shell: Shell) -> list[str]:
    return ["-H", shell.setting("LDAP_URI"), *(["-ZZ"] if starts_tls(shell) else [])]


def _path(shell: Shell, program: str) -> str:
    return posixpath.join(shell.setting("LDAP_BIN", ""), program)
