"""Edit the content of an authorized_keys file: only our own lines change.

Our lines come first, so that removing one restores the file exactly, even if its last line has no
end. Format: sshd(8), AUTHORIZED_KEYS FILE FORMAT.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

TIME_FORMAT = "%Y%m%d%H%M%S"

_OURS = re.compile(
    rb'restrict,(?:from="[0-9a-fA-F.:/,]+",)?expiry-time="(?P<expiry>\d{14}Z?)" '
    rb"(?:ssh|ecdsa)-\S+ \S+ resop:(?P<instance>[0-9a-f]+):(?P<credential>[0-9a-f-]+)"
)


@dataclass(frozen=True, slots=True)
class NodeClock:
    """The clock of a login node, and how its sshd reads an expiry-time."""

    now: datetime
    """The current time there, UTC."""
    standard_offset: timedelta
    """The offset of its standard time from UTC: sshd knows no daylight saving time."""
    utc: bool
    """True if its sshd reads times in UTC, that end with 'Z' (OpenSSH 9.1 and newer)."""

    def stamp(self, time: datetime) -> str:
        """Return a time (UTC) as an expiry-time."""
        return f"{time:{TIME_FORMAT}}Z" if self.utc else self._local(time)

    def is_past(self, expiry: str) -> bool:
        """Return True if an expiry-time of either kind is over."""
        # Compare text: somebody may have edited our line, and its digits need not be a date.
        return expiry <= (
            f"{self.now:{TIME_FORMAT}}Z" if expiry[-1] == "Z" else self._local(self.now)
        )

    def _local(self, time: datetime) -> str:
        return f"{time + self.standard_offset:{TIME_FORMAT}}"


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One of our lines."""

    public_key: str
    """Its type and the key, such as `ssh-ed25519 AAAA…`, without a comment."""
    instance: str
    credential: str
    expiry: str
    """The end of its validity, by `NodeClock.stamp`."""
    sources: str = ""
    """The addresses and networks that may use it, separated by commas; empty for all."""

    def render(self) -> bytes:
        """Return the line with its end."""
        comment = f"resop:{self.instance}:{self.credential}"
        source = f'from="{self.sources}",' if self.sources else ""
        options = f'restrict,{source}expiry-time="{self.expiry}"'
        return f"{options} {self.public_key} {comment}\n".encode()


def add_line(
    content: bytes, line: KeyLine, clock: NodeClock, instances: Collection[str] = ()
) -> bytes:
    """Return `content` with `line` first, without expired lines of its instance and `instances`."""
    names = {line.instance, *instances}
    return line.render() + _filter(content, lambda ours: _is_expired(ours, names, clock))


def remove_lines(
    content: bytes, instances: Collection[str], credentials: Collection[str], clock: NodeClock
) -> bytes:
    """Return `content` without the lines of `credentials` and expired lines of `instances`."""

    def is_obsolete(ours: re.Match[bytes]) -> bool:
        return _is_of(ours, instances) and (
            ours["credential"].decode() in credentials or _is_expired(ours, instances, clock)
        )

    return _filter(content, is_obsolete)


def _filter(content: bytes, is_obsolete: Callable[[re.Match[bytes]], bool]) -> bytes:
    remaining = []
    for line in io.BytesIO(content):  # like sshd, and unlike splitlines(), at \n only
        ours = _OURS.fullmatch(line.rstrip(b"\r\n"))
        if not (ours and is_obsolete(ours)):
            remaining.append(line)
    return b"".join(remaining)


def _is_expired(ours: re.Match[bytes], instances: Collection[str], clock: NodeClock) -> bool:
    return _is_of(ours, instances) and clock.is_past(ours["expiry"].decode())


def _is_of(ours: re.Match[bytes], instances: Collection[str]) -> bool:
    return ours["instance"].decode() in instances
