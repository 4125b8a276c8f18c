"""The directory, asked and changed by OpenLDAP's own clients on the login node.

They bind as the service's account (LDAP_URI, LDAP_BIND_DN), whose password (LDAP_BIND_PASSWORD)
goes by standard input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal

from operators.ldap import ldif
from operators.ldap.ldif import Entry
from resop import CommandFailed, ContactLost, DaemonUnavailable, Result, Secret, Shell

# The first line of standard input is the password, the rest is LDIF. The clients read a password
# from a file (-y) and LDIF from standard input: so the password gets a pipe of its own. The word
# behind the script is for people: what a change is about stands in the LDIF, which nobody sees.
BOUND = (
    "IFS= read -r p; c=$1; shift; export LDAPTIMEOUT=10 LDAPNETWORK_TIMEOUT=10; "
    '{ printf %s "$p" | "$c" -y /dev/fd/3 "$@" 3<&0 <&5; } 5<&0'
)
SECONDS = 60.0
LONGEST_ANSWER = 1 << 26  # bytes
TOO_MANY = 4  # sizeLimitExceeded of RFC 4511
BUSY = (51, 52)  # busy, unavailable
GONE = (-1, -5)  # OpenLDAP's own: no contact, no answer in time
REFUSED_PASSWORD = 49

Values = Sequence[str | Secret]
Change = tuple[Literal["add", "delete", "replace"], str, Values]


def search(shell: Shell, base: str, query: str, *attributes: str) -> list[Entry]:
    """The entries below `base` that match a filter, in pages, so that there may be many.

    `attributes` are those wanted; "1.1" is none (RFC 4511).
    """
    flags = ("-LLL", "-o", "ldif-wrap=no", "-E", "pr=500/noprompt", "-b", base)
    return ldif.read(_run(shell, "search", "ldapsearch", *flags, query, *attributes).stdout)


def search_some(
    shell: Shell, base: str, query: str, limit: int, *attributes: str
) -> tuple[list[Entry], bool]:
    """At most `limit` of the entries that match a filter, and whether these are all."""
    flags = ("-LLL", "-o", "ldif-wrap=no", "-z", str(limit), "-b", base)
    result = _run(shell, "search", "ldapsearch", *flags, query, *attributes, accept=(0, TOO_MANY))
    return ldif.read(result.stdout), result.exit_code == 0


def add(shell: Shell, dn: str, attributes: Mapping[str, Values]) -> None:
    """Add an entry; registered to be undone."""
    parts = ldif.line("dn", dn)
    for name, values in attributes.items():
        parts += ldif.lines(name, values)
    with _undone_by(shell, f"delete {dn}", "ldapdelete", dn):
        _run(shell, f"add {dn}", "ldapadd", given=parts)


def modify(
    shell: Shell, dn: str, changes: Iterable[Change], undo: Iterable[Change] | None = None
) -> None:
    """Change attributes of an entry, all or none; `undo` is registered to take it back."""
    about, parts = _modification(dn, changes)
    if undo is None:
        _run(shell, about, "ldapmodify", given=parts)
        return
    undone, back = _modification(dn, undo)
    with _undone_by(shell, undone, "ldapmodify", given=back):
        _run(shell, about, "ldapmodify", given=parts)


def delete(shell: Shell, dn: str) -> None:
    """Delete an entry, for good."""
    _run(shell, f"delete {dn}", "ldapdelete", dn)


def _modification(dn: str, changes: Iterable[Change]) -> tuple[str, list[str | Secret]]:
    """What is changed, in words, and as LDIF."""
    parts = [*ldif.line("dn", dn), "changetype: modify\n"]
    words = []
    for kind, name, values in changes:
        parts += [f"{kind}: {name}\n", *ldif.lines(name, values), "-\n"]
        shown = [value for value in values if isinstance(value, str)]
        words.append(" ".join([kind if values else "delete", name, *shown]))
    return f"{', '.join(words)} of {dn}", parts


def _run(
    shell: Shell,
    about: str,
    program: str,
    *arguments: str,
    given: Values = (),
    accept: Sequence[int] = (0,),
) -> Result:
    result = shell.run(
        *_argv(shell, about, program, *arguments),
        input=_input(shell, given),
        timeout=SECONDS,
        check=False,
        max_output=LONGEST_ANSWER,
    )
    if result.truncated:
        shell.fail(f"{program}: answered more than {LONGEST_ANSWER} bytes")
    if result.exit_code not in accept:
        raise _failure(shell, program, result)
    return result


def _undone_by(
    shell: Shell, about: str, program: str, *arguments: str, given: Values = ()
) -> AbstractContextManager[None]:
    argv = _argv(shell, about, program, *arguments)
    return shell.undone_by(*argv, input=_input(shell, given))


def _argv(shell: Shell, about: str, program: str, *arguments: str) -> list[str]:
    bind = ("-x", "-H", shell.setting("LDAP_URI"), "-D", shell.setting("LDAP_BIND_DN"))
    return ["sh", "-c", BOUND, about, program, *bind, *arguments]


def _input(shell: Shell, given: Values) -> list[str | Secret]:
    return [shell.secret("LDAP_BIND_PASSWORD"), "\n", *given]


def _failure(shell: Shell, program: str, result: Result) -> Exception:
    """What the client's message means: `ldap_add: Already exists (68)`."""
    said = re.search(r"^(ldap_\w+)(?:\(\w+\))?: .*\((-?\d+)\)", result.stderr, re.MULTILINE)
    call, code = (said[1], int(said[2])) if said else ("", 0)
    uri = shell.setting("LDAP_URI")
    nothing_changed = program == "ldapsearch" or call == "ldap_sasl_bind"
    if code in BUSY or (code in GONE and nothing_changed):
        return DaemonUnavailable(f"the LDAP server {uri} is away", daemon="LDAP server")
    if code in GONE:
        return ContactLost(f"{program} lost the LDAP server {uri}: nobody knows what it has done")
    if code == REFUSED_PASSWORD:
        shell.fail(
            f"the LDAP server {uri} refuses LDAP_BIND_DN or LDAP_BIND_PASSWORD of config.env"
        )
    failed = result.failure()
    return CommandFailed(f"{program}: {said[0]}", **failed.details) if said else failed
