"""What the service and a runner say to each other: frames, see docs/runner.md."""

import struct
from typing import List, Tuple

VERSION = 2
HEADER = struct.Struct("!BII")
"""Type, step, size of what follows."""
MAX_FRAME = 1 << 21
CHUNK = 1 << 15
"""A frame of a stream carries no more."""
WINDOW = 1 << 18
"""Bytes of one stream of one step that may be on their way, until ROOM is made for more."""
START, INPUT, INPUT_END, ROOM, END, FORGET = range(1, 7)
HELLO, OUTPUT, ERRORS, EXIT = range(65, 69)
HELLO_FIELDS = struct.Struct("!HI?")
"""Version, how many steps may run at once, whether the shell reads its rc files for each line."""
ROOM_FIELDS = struct.Struct("!BI")
"""Stream (0: input, 1: output, 2: errors), bytes."""
EXIT_FIELDS = struct.Struct("!BB??")
"""How it ended, exit code, whether output was dropped, whether nothing of it is left."""
ENDED_ITSELF, AT_LIMIT, ON_REQUEST, NOT_STARTED, NOT_KEPT, NEVER_BEGAN, UNKNOWN = range(7)
FORGET_FIELDS = struct.Struct("!?")
"""Whether its name may still come in a START that is on its way."""
STREAMS = {1: OUTPUT, 2: ERRORS}


class Frames:
    """Cuts a stream of bytes into frames; ValueError for one that is too large."""

    def __init__(self, largest: int = MAX_FRAME) -> None:
        self._largest = largest
        self._data = bytearray()

    def feed(self, data: bytes) -> List[Tuple[int, int, bytes]]:
        """Take some bytes; return the frames (type, step, content) that are complete."""
        self._data += data
        found, at = [], 0
        while len(self._data) >= at + HEADER.size:
            kind, number, size = HEADER.unpack_from(self._data, at)
            if size > self._largest:
                raise ValueError(f"a frame of {size} bytes")
            begin, end = at + HEADER.size, at + HEADER.size + size
            if len(self._data) < end:
                break
            found.append((kind, number, bytes(self._data[begin:end])))
            at = end
        del self._data[:at]
        return found


def frame(kind: int, number: int, content: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(kind, number, len(content)) + content


def not_run(how: int, reason: str) -> bytes:
    """What EXIT says where nothing was run, or nobody knows."""
    return EXIT_FIELDS.pack(how, 0, False, True) + reason.encode("utf-8", "replace")[:1000]
