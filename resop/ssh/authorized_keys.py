"""Edits of an authorized_keys file: our own lines come and go, every other byte stays.

Our lines stand first, so that taking one off restores the file exactly, whether or not its last
line has an end. Format: sshd(8), AUTHORIZED_KEYS FILE FORMAT.
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
    """One line of ours."""

    public_key: str
    """`ssh-ed25519 AAAA…`, without a comment."""
    instance: str
    credential: str
    expires: datetime
    """Local time of the login node: sshd before 9.1 reads no other."""

    def render(self) -> bytes:
        """The line with its end."""
        expiry = self.expires.strftime(TIME_FORMAT)
        comment = f"resop:{self.instance}:{self.credential}"
        return f'restrict,expiry-time="{expiry}" {self.public_key} {comment}\n'.encode()


def added(content: bytes, line: KeyLine, now: datetime, instances: Collection[str] = ()) -> bytes:
    """`content` with `line` first and without the expired lines of its instance and `instances`.

    `now` is the login node's local time.
    """
    names = {line.instance, *instances}
    return line.render() + _without(content, lambda ours: _expired(ours, names, now))


def removed(content: bytes, instances: Collection[str], credential: str, now: datetime) -> bytes:
    """`content` without the line of one credential and without these instances' expired lines."""

    def gone(ours: re.Match[bytes]) -> bool:
        return _among(ours, instances) and (
            ours["credential"] == credential.encode() or _expired(ours, instances, now)
        )

    return _without(content, gone)


def _without(content: bytes, gone: Callable[[re.Match[bytes]], bool]) -> bytes:
    kept = []
    for line in io.BytesIO(content):  # like sshd, and unlike splitlines(), at \n only
        ours = _OURS.fullmatch(line.rstrip(b"\r\n"))
        if not (ours and gone(ours)):
            kept.append(line)
    return b"".join(kept)


def _expired(ours: re.Match[bytes], instances: Collection[str], now: datetime) -> bool:
    # Compared as text: what a person has made of our line need not be a date.
    return _among(ours, instances) and ours["expiry"] <= now.strftime(TIME_FORMAT).encode()


def _among(ours: re.Match[bytes], instances: Collection[str]) -> bool:
    return ours["instance"].decode() in instances
