"""Zip archives as streams: not compressed, so that making one costs next to nothing."""

from __future__ import annotations

import io
import stat
import time
import zipfile
from collections.abc import AsyncIterator

from resop.tree import Content, Member

_FIRST, _LAST = 315_532_800, 4_354_819_198  # 1980 and 2107: a zip knows no other times


async def packed(members: AsyncIterator[tuple[Member, Content]]) -> AsyncIterator[bytes]:
    """An archive of them; a byte of a name that is not UTF-8 is written as \\xNN."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        async for member, content in members:
            with archive.open(_info(member), "w", force_zip64=member.size >= 1 << 31) as file:
                file.write(member.target)
                async for block in content:
                    file.write(block)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        assert isinstance(content, bytes | bytearray | memoryview)
        self._kept.append(bytes(content))
        return len(content)

    def taken(self) -> bytes:
        """What was written since the last time."""
        taken, self._kept = b"".join(self._kept), []
        return taken


def _info(member: Member) -> zipfile.ZipInfo:
    name = member.name.decode("utf-8", "backslashreplace")
    when = time.gmtime(max(_FIRST, min(member.modified, _LAST)))
    folder = member.kind == stat.S_IFDIR
    info = zipfile.ZipInfo(f"{name}/" if folder else name, when[:6])
    info.create_system = 3  # Unix, so that the mode counts
    info.external_attr = (member.kind | member.mode) << 16 | (0x10 if folder else 0)
    return info
