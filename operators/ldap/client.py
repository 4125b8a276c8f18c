"""Search and change the directory with OpenLDAP's clients on the login node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal

from operators.ldap import connection, diagnosis, ldif
from operators.ldap.diagnosis import (
    ADMIN_LIMIT_EXCEEDED,
    CONNECT_ERROR,
    ENTRY_ALREADY_EXISTS,
    INVALID_CREDENTIALS,
    LOCAL_CODES,
    NO_SUCH_ATTRIBUTE,
    NO_SUCH_OBJECT,
    SIZE_LIMIT_EXCEEDED,
    SIZE_LIMITS,
    UNAVAILABLE_CODES,
    VALUE_EXISTS,
    Diagnosis,
)
from operators.ldap.ldif import LdapEntry
from resop import ContactLost, DaemonUnavailable, OperationFailed, Result, Secret, Shell

LDAP_TIMEOUT = 60.0
MAX_ANSWER_BYTES = 1 << 26  # bytes
QUERYING_PROGRAMS = ("ldapsearch", "ldapwhoami")
PLANNED = "entry"
"""The kind of entries in `Shell.planned`."""
PAGES = ("-LLL", "-o", "ldif-wrap=no", "-E", "pr=500/noprompt")

NOT_CHANGED = (NO_SUCH_ATTRIBUTE, VALUE_EXISTS, NO_SUCH_OBJECT)
"""The results of reversing a change that was not made, or that somebody has reversed."""

AttributeValues = Sequence[str | Secret]
AttributeChange = tuple[Literal["add", "delete", "replace"], str, AttributeValues]


def search(shell: Shell, base: str, query: str, *attributes: str) -> list[LdapEntry]:
    """Return all entries below `base` that match a filter, read in pages.

    `attributes` names those to return; "1.1" means none (RFC 4511).
    """
    result = _run(shell, "ldapsearch", *PAGES, "-b", base, query, *attributes, base=base)
    return ldif.read(result.stdout)


def search_within_limits(
    shell: Shell, base: str, query: str, *attributes: str
) -> tuple[list[LdapEntry], bool]:
    """Return the entries that the server's limits permit, and True if these are all."""
    arguments = (*PAGES, "-b", base, query, *attributes)
    result = _run(shell, "ldapsearch", *arguments, base=base, accept=(0, *SIZE_LIMITS))
    return ldif.read(result.stdout), result.exit_code == 0


def search_limited(
    shell: Shell, base: str, query: str, limit: int, *attributes: str
) -> tuple[list[LdapEntry], bool]:
    """Return at most `limit` of the entries that match, and True if these are all."""
    flags = ("-LLL", "-o", "ldif-wrap=no", "-z", str(limit), "-b", base)
    accept = (0, SIZE_LIMIT_EXCEEDED, ADMIN_LIMIT_EXCEEDED)
    result = _run(shell, "ldapsearch", *flags, query, *attributes, base=base, accept=accept)
    if result.exit_code == ADMIN_LIMIT_EXCEEDED:  # the limit is above what the server permits
        found, complete = search_within_limits(shell, base, query, *attributes)
        return found[:limit], complete and len(found) <= limit
    return ldif.read(result.stdout), result.exit_code == 0


def read(shell: Shell, dn: str, *attributes: str) -> LdapEntry | None:
    """Return one entry, or None if there is none."""
    if (PLANNED, dn) in shell.planned:
        return next(each for each in planned_entries(shell) if each.dn == dn)
    flags = ("-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", dn)
    accept = (0, NO_SUCH_OBJECT)
    query = "(objectClass=*)"
    result = _run(shell, "ldapsearch", *flags, query, *attributes, base=dn, accept=accept)
    return next(iter(ldif.read(result.stdout)), None)


def add(shell: Shell, dn: str, attributes: Mapping[str, AttributeValues]) -> None:
    """Add an entry, registered to be undone."""
    if shell.dry_run:
        shell.planned[PLANNED, dn] = _without_secrets(dn, attributes)
    words = f"delete {dn}"
    with _undone_by(shell, words, "", "ldapdelete", dn, absent=[NO_SUCH_OBJECT]):
        parts = _format_entry(dn, attributes)
        _run(shell, "ldapadd", base=dn, comment=dn, summary=f"add {dn}", ldif_parts=parts)


def add_if_missing(
    shell: Shell, dn: str, attributes: Mapping[str, AttributeValues], summary: str = ""
) -> bool:
    """Add an entry, to stay; return False if it exists already. `summary` says why."""
    parts = _format_entry(dn, attributes)
    accept = (0, ENTRY_ALREADY_EXISTS)
    words = {"comment": dn, "summary": summary or f"add {dn}"}
    result = _run(shell, "ldapadd", base=dn, ldif_parts=parts, accept=accept, **words)
    return result.exit_code == 0


def modify(
    shell: Shell,
    dn: str,
    changes: Iterable[AttributeChange],
    undo: Iterable[AttributeChange] | None = None,
) -> None:
    """Change attributes of an entry, all or none; `undo` is registered to reverse the change."""
    comment, parts = _format_modification(dn, changes)
    if undo is None:
        _run(shell, "ldapmodify", base=dn, comment=comment, ldif_parts=parts)
        return
    undo_comment, undo_parts = _format_modification(dn, undo)
    with _undone_by(
        shell, undo_comment, undo_comment, "ldapmodify", ldif_parts=undo_parts, absent=NOT_CHANGED
    ):
        _run(shell, "ldapmodify", base=dn, comment=comment, ldif_parts=parts)


def replace_value(shell: Shell, dn: str, name: str, old: str, new: str, summary: str = "") -> bool:
    """Replace one value of an attribute; return False if the attribute does not have it (now).

    `summary` says why.
    """
    changes: list[AttributeChange] = [("delete", name, [old]), ("add", name, [new])]
    comment, parts = _format_modification(dn, changes)
    accept = (0, NO_SUCH_ATTRIBUTE, NO_SUCH_OBJECT)
    words = {"comment": comment, "summary": summary}
    result = _run(shell, "ldapmodify", base=dn, ldif_parts=parts, accept=accept, **words)
    return result.exit_code == 0


def rename(shell: Shell, dn: str, rdn: str, new_dn: str, old_rdn: str) -> None:
    """Give an entry another RDN, in place of its old one; registered to be undone."""
    undo_comment, undo_parts = _format_rename(new_dn, old_rdn)
    comment, parts = _format_rename(dn, rdn)
    with _undone_by(
        shell,
        undo_comment,
        undo_comment,
        "ldapmodify",
        ldif_parts=undo_parts,
        absent=[NO_SUCH_OBJECT],
    ):
        _run(shell, "ldapmodify", base=dn, comment=comment, ldif_parts=parts)


def set_password(shell: Shell, dn: str, password: Secret) -> None:
    """Set a password that the server checks and hashes: Password Modify (RFC 3062)."""
    # The client reads the file to its last character, so the password has no final newline.
    summary = f"set the password of {dn}, which the server checks"
    arguments = ("-T", "/dev/stdin", dn)
    _run(shell, "ldappasswd", *arguments, base=dn, summary=summary, ldif_parts=[password])


def delete(shell: Shell, dn: str) -> None:
    """Permanently delete an entry."""
    _run(shell, "ldapdelete", dn, base=dn, summary=f"delete {dn}")


def planned_entries(shell: Shell) -> list[LdapEntry]:
    """Return the entries that earlier steps of a dry run would have added."""
    return [entry for (kind, _), entry in shell.planned.items() if kind == PLANNED]


def _without_secrets(dn: str, attributes: Mapping[str, AttributeValues]) -> LdapEntry:
    texts = {
        name: [value for value in values if isinstance(value, str)]
        for name, values in attributes.items()
    }
    return LdapEntry(dn, texts)


def _format_entry(dn: str, attributes: Mapping[str, AttributeValues]) -> list[str | Secret]:
    parts = ldif.line("dn", dn)
    for name, values in attributes.items():
        parts += ldif.lines(name, values)
    return parts


def _format_rename(dn: str, rdn: str) -> tuple[str, list[str | Secret]]:
    """Return the new RDN of an entry in words, and as LDIF."""
    parts = [*ldif.line("dn", dn), "changetype: modrdn\n", *ldif.line("newrdn", rdn)]
    return f"{dn} becomes {rdn}", [*parts, "deleteoldrdn: 1\n"]


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
    program: str,
    *arguments: str,
    base: str,
    comment: str = "",
    summary: str = "",
    ldif_parts: AttributeValues = (),
    accept: Sequence[int] = (0,),
) -> Result:
    result = shell.run(
        *connection.command_line(shell, program, *arguments),
        input=_input(shell, ldif_parts),
        timeout=LDAP_TIMEOUT,
        check=False,
        max_output=MAX_ANSWER_BYTES,
        launcher=connection.launcher(shell),
        comment=comment,
        reads=program in QUERYING_PROGRAMS,
        summary=summary,
    )
    if result.truncated:
        shell.fail(f"{program} printed more than {MAX_ANSWER_BYTES} bytes: narrow the request")
    if result.exit_code not in accept:
        raise _failure(shell, program, result, base)
    return result


def _undone_by(
    shell: Shell,
    words: str,
    comment: str,
    program: str,
    *arguments: str,
    ldif_parts: AttributeValues = (),
    absent: Sequence[int],
) -> AbstractContextManager[None]:
    return shell.undone_by(
        *connection.command_line(shell, program, *arguments),
        input=_input(shell, ldif_parts),
        launcher=connection.launcher(shell),
        comment=comment,
        what=words,
        where=f"directory {shell.setting('LDAP_URI')}",
        absent=absent,
    )


def _input(shell: Shell, ldif_parts: AttributeValues) -> list[str | Secret]:
    return [*connection.password_line(shell), *ldif_parts]


def _failure(shell: Shell, program: str, result: Result, base: str) -> Exception:
    # ldappasswd prints the server's result on standard output.
    answer = f"{result.stderr}\n{result.stdout}" if program == "ldappasswd" else result.stderr
    fault = diagnosis.diagnose(answer)
    if fault is None:
        reason = diagnosis.explain_misuse(result.stderr)
        return OperationFailed(reason, **result.failure().details) if reason else result.failure()
    uri = shell.setting("LDAP_URI")
    nothing_changed = program == "ldapsearch" or fault.is_before_request
    if fault.code in (*LOCAL_CODES, CONNECT_ERROR) and nothing_changed:
        return _connection_failure(shell, uri, fault)
    if fault.code in UNAVAILABLE_CODES:
        return DaemonUnavailable(f"the LDAP server {uri} is busy", daemon="LDAP server")
    if fault.code in LOCAL_CODES:
        return ContactLost(
            f"{program} lost the LDAP server {uri}: the change may or may not have been made"
        )
    if fault.code == INVALID_CREDENTIALS:
        reason = f" ({fault.info})" if fault.info else ""
        return OperationFailed(
            f"the LDAP server {uri} refuses LDAP_BIND_DN or LDAP_BIND_PASSWORD of config.env"
            f"{reason}"
        )
    return diagnosis.refusal(shell, program, result, fault, base)


def _connection_failure(shell: Shell, uri: str, fault: Diagnosis) -> Exception:
    """Tell a certificate that is not trusted from a server that cannot be reached."""
    if connection.uses_tls(shell) and _answers_untrusted(shell):
        reason = f" ({fault.info})" if fault.info else ""
        return OperationFailed(
            f"the login node does not trust the certificate of the LDAP server {uri}{reason}: it "
            "needs the CA's certificate, in the file that LDAP_TLS_CACERT names or that its "
            "ldap.conf names as TLS_CACERT, and LDAP_URI must have a name of the certificate"
        )
    return DaemonUnavailable(f"the LDAP server {uri} cannot be reached", daemon="LDAP server")


def _answers_untrusted(shell: Shell) -> bool:
    """Return True if the server answers a client that trusts any certificate.

    The client does not bind, so that no password can reach a wrong server.
    """
    result = shell.run(
        *connection.anonymous_command_line(shell, "ldapwhoami"),
        timeout=LDAP_TIMEOUT,
        check=False,
        launcher=connection.anonymous_launcher(shell, LDAPTLS_REQCERT="never"),
        reads=True,
    )
    fault = diagnosis.diagnose(result.stderr)
    return result.exit_code == 0 or (fault is not None and fault.code > 0)
