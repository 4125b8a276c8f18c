"""Edit the content of an authorized_keys file: only our own lines change.

Our lines come first, so that removing one restores the file exactly, even if its last line has no
end. Format: sshd(8), AUTHORIZED_KEYS FILE FORMAT.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

TIME_FORMAT = "%Y%m%d%H%M%S"

_OURS = re.compile(
    rb'restrict,expiry-time="(?P<expiry>\d{14})" ssh-ed25519 \S+ '
    rb"resop:(?P<instance>[0-9a-f]+):(?P<credential>[0-9a-f-]+)"
)


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One of our lines."""

    public_key: str
    """`ssh-ed25519 AAAA…`, without a comment."""
    instance: str
    credential: str
    expires: datetime
    """Local time of the login node: sshd before 9.1 understands no other."""

    def render(self) -> bytes:
        """Return the line with its end."""
        expiry = self.expires.strftime(TIME_FORMAT)
        comment = f"resop:{self.instance}:{self.credential}"
        return f'restrict,expiry-time="{expiry}" {self.public_key} {comment}\n'.encode()


def add_line(
    content: bytes, line: KeyLine, now: datetime, instances: Collection[str] = ()
) -> bytes:
    """Return `content` with `line` first, without expired lines of its instance and `instances`.

    `now` is the login node's local time.
    """
    names = {line.instance, *instances}
    return line.render() + _filter(content, lambda ours: _is_expired(ours, names, now))


def remove_line(
    content: bytes, instances: Collection[str], credential: str, now: datetime
) -> bytes:
    """Return `content` without a credential's line and without expired lines of `instances`."""

    def is_obsolete(ours: re.Match[bytes]) -> bool:
        return _is_of(ours, instances) and (
            ours["credential"] == credential.encode() or _is_expired(ours, instances, now)
        )

    return _filter(content, is_obsolete)


def _filter(content: bytes, is_obsolete: Callable[[re.Match[bytes]], bool]) -> bytes:
    remaining = []
    for line in io.BytesIO(content):  # like sshd, and unlike splitlines(), at \n only
        ours = _OURS.fullmatch(line.rstrip(b"\r\n"))
        if not (ours and is_obsolete(ours)):
            remaining.append(line)
    return b"".join(remaining)


def _is_expired(ours: re.Match[bytes], instances: Collection[str], now: datetime) -> bool:
    # Compare text: somebody may have edited our line, and its digits need not be a date.
    return _is_of(ours, instances) and ours["expiry"] <= now.strftime(TIME_FORMAT).encode()


def _is_of(ours: re.Match[bytes], instances: Collection[str]) -> bool:
    return ours["instance"].decode() in instances
