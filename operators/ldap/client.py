"""Search and change the directory with OpenLDAP's clients on the login node.

The clients bind as the service's account (LDAP_URI, LDAP_BIND_DN); its password
(LDAP_BIND_PASSWORD) is sent on standard input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal

from operators.ldap import ldif
from operators.ldap.ldif import LdapEntry
from resop import CommandFailed, ContactLost, DaemonUnavailable, Result, Secret, Shell

# The first line of standard input is the password, the rest is LDIF. The clients read a password
# from a file (-y) and LDIF from standard input, so the password gets its own pipe. The argument
# after the script describes the change to people, who do not see the LDIF.
BIND_SCRIPT = (
    "IFS= read -r p; c=$1; shift; export LDAPTIMEOUT=10 LDAPNETWORK_TIMEOUT=10; "
    '{ printf %s "$p" | "$c" -y /dev/fd/3 "$@" 3<&0 <&5; } 5<&0'
)
LDAP_TIMEOUT = 60.0
MAX_ANSWER_BYTES = 1 << 26  # bytes
SIZE_LIMIT_EXCEEDED = 4  # sizeLimitExceeded (RFC 4511)
NO_SUCH_ATTRIBUTE = 16
NO_SUCH_OBJECT = 32
ENTRY_ALREADY_EXISTS = 68
UNAVAILABLE_CODES = (51, 52)  # busy, unavailable
CONNECTION_CODES = (-1, -5)  # OpenLDAP's own codes: server not reached, no answer in time
INVALID_CREDENTIALS = 49

AttributeValues = Sequence[str | Secret]
AttributeChange = tuple[Literal["add", "delete", "replace"], str, AttributeValues]


def search(shell: Shell, base: str, query: str, *attributes: str) -> list[LdapEntry]:
    """Return the entries below `base` that match a filter, read in pages, with no limit.

    `attributes` names those to return; "1.1" means none (RFC 4511).
    """
    flags = ("-LLL", "-o", "ldif-wrap=no", "-E", "pr=500/noprompt", "-b", base)
    return ldif.read(_run(shell, "search", "ldapsearch", *flags, query, *attributes).stdout)


def search_limited(
    shell: Shell, base: str, query: str, limit: int, *attributes: str
) -> tuple[list[LdapEntry], bool]:
    """Return at most `limit` of the entries that match, and True if these are all."""
    flags = ("-LLL", "-o", "ldif-wrap=no", "-z", str(limit), "-b", base)
    result = _run(
        shell, "search", "ldapsearch", *flags, query, *attributes, accept=(0, SIZE_LIMIT_EXCEEDED)
    )
    return ldif.read(result.stdout), result.exit_code == 0


def add(shell: Shell, dn: str, attributes: Mapping[str, AttributeValues]) -> None:
    """Add an entry, registered to be undone."""
    with _undone_by(shell, f"delete {dn}", "ldapdelete", dn):
        _run(shell, f"add {dn}", "ldapadd", ldif_parts=_format_entry(dn, attributes))


def add_if_missing(shell: Shell, dn: str, attributes: Mapping[str, AttributeValues]) -> bool:
    """Add an entry, to stay; return False if it exists already."""
    parts = _format_entry(dn, attributes)
    accept = (0, ENTRY_ALREADY_EXISTS)
    result = _run(shell, f"add {dn}", "ldapadd", ldif_parts=parts, accept=accept)
    return result.exit_code == 0


def modify(
    shell: Shell,
    dn: str,
    changes: Iterable[AttributeChange],
    undo: Iterable[AttributeChange] | None = None,
) -> None:
    """Change attributes of an entry, all or none; `undo` is registered to reverse the change."""
    summary, parts = _format_modification(dn, changes)
    if undo is None:
        _run(shell, summary, "ldapmodify", ldif_parts=parts)
        return
    undo_summary, undo_parts = _format_modification(dn, undo)
    with _undone_by(shell, undo_summary, "ldapmodify", ldif_parts=undo_parts):
        _run(shell, summary, "ldapmodify", ldif_parts=parts)


def replace_value(shell: Shell, dn: str, name: str, old: str, new: str) -> bool:
    """Replace one value of an attribute; return False if the attribute does not have it (now)."""
    changes: list[AttributeChange] = [("delete", name, [old]), ("add", name, [new])]
    summary, parts = _format_modification(dn, changes)
    accept = (0, NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT)
    result = _run(shell, summary, "ldapmodify", ldif_parts=parts, accept=accept)
    return result.exit_code == 0


def delete(shell: Shell, dn: str) -> None:
    """Permanently delete an entry."""
    _run(shell, f"delete {dn}", "ldapdelete", dn)


def _format_entry(dn: str, attributes: Mapping[str, AttributeValues]) -> list[str | Secret]:
    parts = ldif.line("dn", dn)
    for name, values in attributes.items():
        parts += ldif.lines(name, values)
    return parts


def _format_modification(
    dn: str, changes: Iterable[AttributeChange]
) -> tuple[str, list[str | Secret]]:
    """Return the changes in words, and as LDIF."""
    parts = [*ldif.line("dn", dn), "changetype: modify\n"]
    words = []
    for kind, name, values in changes:
        parts += [f"{kind}: {name}\n", *ldif.lines(name, values), "-\n"]
        texts = [value for value in values if isinstance(value, str)]
        words.append(" ".join([kind if values else "delete", name, *texts]))
    return f"{', '.join(words)} of {dn}", parts


def _run(
    shell: Shell,
    summary: str,
    program: str,
    *arguments: str,
    ldif_parts: AttributeValues = (),
    accept: Sequence[int] = (0,),
) -> Result:
    result = shell.run(
        *_argv(shell, summary, program, *arguments),
        input=_input(shell, ldif_parts),
        timeout=LDAP_TIMEOUT,
        check=False,
        max_output=MAX_ANSWER_BYTES,
    )
    if result.truncated:
        shell.fail(f"{program} printed more than {MAX_ANSWER_BYTES} bytes: narrow the request")
    if result.exit_code not in accept:
        raise _failure(shell, program, result)
    return result


def _undone_by(
    shell: Shell, summary: str, program: str, *arguments: str, ldif_parts: AttributeValues = ()
) -> AbstractContextManager[None]:
    argv = _argv(shell, summary, program, *arguments)
    return shell.undone_by(*argv, input=_input(shell, ldif_parts))


def _argv(shell: Shell, summary: str, program: str, *arguments: str) -> list[str]:
    bind = ("-x", "-H", shell.setting("LDAP_URI"), "-D", shell.setting("LDAP_BIND_DN"))
    return ["sh", "-c", BIND_SCRIPT, summary, program, *bind, *arguments]


def _input(shell: Shell, ldif_parts: AttributeValues) -> list[str | Secret]:
    return [shell.secret("LDAP_BIND_PASSWORD"), "\n", *ldif_parts]


def _failure(shell: Shell, program: str, result: Result) -> Exception:
    """Return the error for a client's message, such as `ldap_add: Already exists (68)`."""
    found = re.search(r"^(ldap_\w+)(?:\(\w+\))?: .*\((-?\d+)\)", result.stderr, re.MULTILINE)
    call, code = (found[1], int(found[2])) if found else ("", 0)
    uri = shell.setting("LDAP_URI")
    nothing_changed = program == "ldapsearch" or call == "ldap_sasl_bind"
    if code in UNAVAILABLE_CODES or (code in CONNECTION_CODES and nothing_changed):
        return DaemonUnavailable(f"the LDAP server {uri} cannot be reached", daemon="LDAP server")
    if code in CONNECTION_CODES:
        return ContactLost(
            f"{program} lost the LDAP server {uri}: the change may or may not have been made"
        )
    if code == INVALID_CREDENTIALS:
        shell.fail(
            f"the LDAP server {uri} refuses LDAP_BIND_DN or LDAP_BIND_PASSWORD of config.env"
        )
    failure = result.failure()
    return CommandFailed(f"{program}: {found[0]}", **failure.details) if found else failure
