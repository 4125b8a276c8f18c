"""Tell from a client's messages why the directory did not do what it was asked to.

The clients print the result of the server (RFC 4511), and below it the server's own reason:

    ldap_add: Constraint violation (19)
            additional info: some attributes not unique
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from operators.ldap import dn as names
from operators.ldap.connection import sasl_mechanism, starts_tls
from resop import CommandFailed, Result, Shell

LOCAL_CODES = (-1, -5)  # OpenLDAP's own codes: server not reached, no answer in time
CONNECT_ERROR = -11  # StartTLS failed
LOCAL_ERROR = -2
TIME_LIMIT_EXCEEDED = 3
SIZE_LIMIT_EXCEEDED = 4
AUTH_METHOD_NOT_SUPPORTED = 7
STRONGER_AUTH_REQUIRED = 8
REFERRAL = 10
ADMIN_LIMIT_EXCEEDED = 11
CONFIDENTIALITY_REQUIRED = 13
NO_SUCH_ATTRIBUTE = 16
UNDEFINED_ATTRIBUTE_TYPE = 17
CONSTRAINT_VIOLATION = 19
VALUE_EXISTS = 20
INVALID_SYNTAX = 21
NO_SUCH_OBJECT = 32
INVALID_DN_SYNTAX = 34
INAPPROPRIATE_AUTH = 48
INVALID_CREDENTIALS = 49
INSUFFICIENT_ACCESS = 50
UNAVAILABLE_CODES = (51, 52)  # busy, unavailable
UNWILLING_TO_PERFORM = 53
NAMING_VIOLATION = 64
OBJECT_CLASS_VIOLATION = 65
NOT_ALLOWED_ON_RDN = 67
ENTRY_ALREADY_EXISTS = 68

SIZE_LIMITS = (SIZE_LIMIT_EXCEEDED, ADMIN_LIMIT_EXCEEDED, TIME_LIMIT_EXCEEDED)

_RESULT = re.compile(
    r"^(?:Result: )?((?:(ldap_\w+)(?:\(\w+\))?: )?[A-Z][\w',/ -]* \((-?\d+)\))$", re.MULTILINE
)
_INFO = re.compile(r"^\s*additional info(?:rmation)?: *(.+)$", re.MULTILINE | re.IGNORECASE)
_MATCHED = re.compile(r"^\s*matched DN: *(.+)$", re.MULTILINE | re.IGNORECASE)
_REFERRAL = re.compile(r"^\s*(?:referral: *)?(ldap[is]?://\S+)$", re.MULTILINE | re.IGNORECASE)

_HINTS = {
    TIME_LIMIT_EXCEEDED: "the server's time limit for this account is too short for the search: "
    "raise it (olcLimits, nsTimeLimit), or index the attributes that are searched",
    SIZE_LIMIT_EXCEEDED: "the server returns no more entries to this account: raise its size limit "
    "(olcLimits, nsSizeLimit)",
    ADMIN_LIMIT_EXCEEDED: "the server's limits for this account are too low for the search: raise "
    "them (olcLimits, nsLookThroughLimit)",
    AUTH_METHOD_NOT_SUPPORTED: "see LDAP_SASL_MECH",
    STRONGER_AUTH_REQUIRED: "see LDAP_START_TLS and LDAP_SASL_MECH, or use ldaps:// in LDAP_URI",
    CONFIDENTIALITY_REQUIRED: "set LDAP_START_TLS=yes, or use ldaps:// in LDAP_URI",
    UNDEFINED_ATTRIBUTE_TYPE: "the server's schema lacks it: see LDAP_USER_CLASSES and the other "
    "settings that name attributes",
    INVALID_DN_SYNTAX: "see LDAP_PEOPLE, LDAP_GROUPS and LDAP_BIND_DN",
    INAPPROPRIATE_AUTH: "see LDAP_BIND_DN and LDAP_BIND_PASSWORD",
    INSUFFICIENT_ACCESS: "the account that binds (LDAP_BIND_DN) may not do this",
    NAMING_VIOLATION: "the value is a part of the entry's DN",
    NOT_ALLOWED_ON_RDN: "the value is a part of the entry's DN",
    OBJECT_CLASS_VIOLATION: "see LDAP_USER_CLASSES, LDAP_USER_ATTRIBUTES and LDAP_GROUP_CLASSES",
}


class DirectoryRefusal(CommandFailed):
    """The directory refused a request."""

    def __init__(self, message: str, code: int, info: str, **details: object) -> None:
        """Keep the result code and the server's own reason."""
        super().__init__(message, **details)
        self.code = code
        self.info = info


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result that a client's messages report."""

    text: str = ""
    """The result in words, with its code."""
    call: str = ""
    """The function of the client that failed, such as `ldap_add`."""
    code: int = 0
    info: str = ""
    """The server's own reason."""
    matched: str = ""
    """The part of the DN that exists, if an entry does not."""
    referrals: list[str] = field(default_factory=list)
    """The servers that the server refers to."""

    @property
    def is_before_request(self) -> bool:
        """Return True if the connection or the bind failed, so that nothing was requested."""
        return self.call.startswith(("ldap_sasl", "ldap_bind", "ldap_start_tls"))


def diagnose(messages: str) -> Diagnosis | None:
    """Return what the messages say; None if there is no result among them."""
    found = _RESULT.search(messages)
    if found is None:
        return None
    info, matched = _INFO.search(messages), _MATCHED.search(messages)
    return Diagnosis(
        found[1],
        found[2] or "",
        int(found[3]),
        info[1].strip() if info else "",
        matched[1].strip() if matched else "",
        _REFERRAL.findall(messages),
    )


def refusal(
    shell: Shell, program: str, result: Result, fault: Diagnosis, base: str
) -> DirectoryRefusal:
    """Return the error for a request that the server refused, with the setting to look at.

    `base` is the entry that was searched or changed.
    """
    reason = f"{program}: {fault.text}" + (f": {fault.info}" if fault.info else "")
    hint = _hint(shell, fault, base)
    message = f"{reason}; {hint}" if hint else reason
    return DirectoryRefusal(message, fault.code, fault.info, **result.failure().details)


def explain_misuse(messages: str) -> str | None:
    """Return the reason if a client did not begin, in words; None if it is not known."""
    if "Could not parse LDAP URI" in messages or "Could not create LDAP session" in messages:
        return "the setting LDAP_URI must be an address such as ldaps://ldap.hpc.example"
    if re.search(r"not found|No such file or directory", messages):
        return (
            "the login node lacks the OpenLDAP clients: install them (ldap-utils, "
            "openldap-clients), or name their folder in LDAP_BIN"
        )
    return None


def _hint(shell: Shell, fault: Diagnosis, base: str) -> str:
    if fault.code == REFERRAL:
        return _explain_referral(fault)
    if fault.code == NO_SUCH_OBJECT:
        return _explain_missing(shell, fault, base)
    if fault.call == "ldap_start_tls":
        return "the server offers no StartTLS: see LDAP_START_TLS and LDAP_URI"
    if sasl_mechanism(shell) and fault.is_before_request:
        return _explain_sasl(shell, fault)
    if fault.code == CONFIDENTIALITY_REQUIRED and starts_tls(shell):
        return "the encryption is too weak for the server"
    return _HINTS.get(fault.code, "")


def _explain_referral(fault: Diagnosis) -> str:
    servers = ", ".join(fault.referrals) or "another one"
    return f"the server is a read-only replica, which refers to {servers}: set LDAP_URI to that one"


def _explain_missing(shell: Shell, fault: Diagnosis, base: str) -> str:
    for setting in ("LDAP_PEOPLE", "LDAP_GROUPS"):
        place = shell.setting(setting, "")
        if place and names.normalize(place) in (
            names.normalize(base),
            names.normalize(names.parent(base)),
        ):
            there = f", only {fault.matched}" if fault.matched else ""
            return f"the directory has no {place}{there}: see {setting}"
    return ""


def _explain_sasl(shell: Shell, fault: Diagnosis) -> str:
    if sasl_mechanism(shell) == "GSSAPI" and fault.code == LOCAL_ERROR:
        return f"{shell.username} needs a Kerberos ticket on the login node (kinit)"
    return "see LDAP_SASL_MECH; the login node needs the mechanism's library (Cyrus SASL)"
