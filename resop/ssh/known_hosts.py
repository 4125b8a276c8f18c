"""Find the keys of a host in a known_hosts file, as ssh does: it skips each line it cannot read.

Format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT. What ssh skips and matches is in OpenSSH's hostfile.c
and match.c: bytes, not text; names without regard to case; only the lines of this host are parsed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import asyncssh

_AUTHORITY, _REVOKED = b"@cert-authority", b"@revoked"
_LINE = re.compile(
    rb"(?:(?P<marker>@[^ \t]*)[ \t]+)?(?P<names>[^ \t@][^ \t]*)[ \t]+"
    rb"(?P<kind>[^ \t#][^ \t]*)[ \t]+(?P<key>[^ \t]+)"
)
_HASH = re.compile(rb"\|1\|(?P<salt>[^|]+)\|(?P<hash>[^|]+)")
_SHA1_SIZE = 20


@dataclass(slots=True)
class KnownKeys:
    """The keys that a file has for one host."""

    keys: list[asyncssh.SSHKey] = field(default_factory=list)
    authorities: list[asyncssh.SSHKey] = field(default_factory=list)
    """The keys of authorities that certify the host."""
    revoked: list[asyncssh.SSHKey] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    """The numbers of the lines that cannot be read."""

    @property
    def is_empty(self) -> bool:
        """True if nothing can be trusted."""
        return not self.keys and not self.authorities

    def add_default(self, others: KnownKeys) -> None:
        """Add keys that were found without the port, which count where there are none with it."""
        algorithms = {key.algorithm for key in self.keys}
        self.keys += [key for key in others.keys if key.algorithm not in algorithms]
        self.authorities += others.authorities
        self.revoked += others.revoked
        self.skipped = sorted({*self.skipped, *others.skipped})


def find_host_keys(content: bytes, names: Sequence[str]) -> KnownKeys:
    """Return the keys in a known_hosts file for a host, which has any of `names`.

    Each name is written as ssh writes it: in lower case, `[name]:port` for another port than 22.
    """
    found = KnownKeys()
    hosts = [name.encode() for name in names]
    for number, line in _lines(content):
        fields = _LINE.match(line)
        if fields is None or fields["marker"] not in (None, _AUTHORITY, _REVOKED):
            found.skipped.append(number)
            continue
        try:
            if any(_matches(fields["names"], host) for host in hosts):
                _list_for(found, fields["marker"]).append(_key(fields["kind"], fields["key"]))
        except ValueError:  # as is KeyImportError
            found.skipped.append(number)
    return found


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, without comments; each ends at a NUL, as in C."""
    for number, line in enumerate(content.split(b"\n"), 1):
        text = line.partition(b"\0")[0].strip(b" \t\r")
        if text and not text.startswith(b"#"):
            yield number, text


def _matches(patterns: bytes, host: bytes) -> bool:
    """Return whether a line's first field is about `host`. Raises ValueError for a torn hash."""
    if patterns.startswith(b"|"):
        return _matches_hash(patterns, host)
    matched = False
    for pattern in patterns.lower().split(b","):
        negated = pattern.startswith(b"!")
        if _matches_wildcards(pattern[negated:], host):
            if negated:
                return False
            matched = True
    return matched


def _matches_wildcards(pattern: bytes, host: bytes) -> bool:
    if b"*" not in pattern and b"?" not in pattern:
        return pattern == host
    expression = re.escape(pattern).replace(rb"\*", b".*").replace(rb"\?", b".")
    return re.fullmatch(expression, host, re.DOTALL) is not None


def _matches_hash(text: bytes, host: bytes) -> bool:
    parts = _HASH.fullmatch(text)
    if parts is None:
        raise ValueError("not a hash of kind 1")
    salt = base64.b64decode(parts["salt"])
    if len(salt) != _SHA1_SIZE:
        raise ValueError("a torn salt")
    # ssh compares the text.
    digest = binascii.b2a_base64(hmac.digest(salt, host, "sha1"), newline=False)
    return digest == parts["hash"]


def _list_for(found: KnownKeys, marker: bytes | None) -> list[asyncssh.SSHKey]:
    if marker == _AUTHORITY:
        return found.authorities
    return found.revoked if marker == _REVOKED else found.keys


def _key(kind: bytes, key: bytes) -> asyncssh.SSHKey:
    """Return the key of a line. Raises ValueError unless it is one of this kind."""
    if kind in (b"rsa-sha2-256", b"rsa-sha2-512"):  # names of signatures: the key is the same
        kind = b"ssh-rsa"
    parsed = asyncssh.import_public_key(kind + b" " + key)
    if parsed.algorithm != kind:
        raise ValueError("a key of another kind")
    return parsed
