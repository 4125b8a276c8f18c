"""The frames that the service and a runner exchange; docs/runner.md describes them."""

import struct
from typing import List, Tuple

VERSION = 4
HEADER = struct.Struct("!BII")
"""Type, step number, size of the content."""
MAX_FRAME = 1 << 21
CHUNK = 1 << 15
"""The most bytes of a stream in one frame."""
WINDOW_SIZE = 1 << 18
"""Bytes of one stream of one step that may be in transit until a WINDOW_ADJUST."""
MAX_STEPS = 400
"""The most steps that a runner runs at once."""
KILL_TIMEOUT = 2.0
"""Seconds after KILL: what still runs then waits for a device, or is not the user's."""
START, STDIN, STDIN_EOF, WINDOW_ADJUST, END, FORGET = range(1, 7)
HELLO, STDOUT, STDERR, EXIT, RETIRE = range(65, 70)
HELLO_FIELDS = struct.Struct("!HI??")
"""Version; how many steps run at once; whether the login shell reads its rc files for each line;
whether it shows the whole line in its messages."""
WINDOW_ADJUST_FIELDS = struct.Struct("!BI")
"""Stream (0 stdin, 1 stdout, 2 stderr), bytes."""
EXIT_FIELDS = struct.Struct("!BB??")
"""One of the codes below; exit code, or error code if the step was not started; whether output was
dropped; whether no process is left."""
(
    EXITED,
    TIMED_OUT,
    ENDED,
    NOT_STARTED,
    NOT_DURABLE,
    NEVER_STARTED,
    OUTCOME_UNKNOWN,
) = range(7)
FORGET_FIELDS = struct.Struct("!?")
"""True if a START with that step ID may still arrive."""
STREAM_FRAMES = {1: STDOUT, 2: STDERR}


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self, max_size: int = MAX_FRAME) -> None:
        self._max_size = max_size
        self._data = bytearray()

    def feed(self, data: bytes) -> List[Tuple[int, int, bytes]]:
        """Take bytes; return the completed frames: type, step number, content.

        Raises ValueError for a frame that is too large.
        """
        self._data += data
        frames, at = [], 0
        while len(self._data) >= at + HEADER.size:
            kind, number, size = HEADER.unpack_from(self._data, at)
            if size > self._max_size:
                raise ValueError(f"a frame of {size} bytes")
            begin, end = at + HEADER.size, at + HEADER.size + size
            if len(self._data) < end:
                break
            frames.append((kind, number, bytes(self._data[begin:end])))
            at = end
        del self._data[:at]
        return frames


def frame(kind: int, number: int, content: bytes = b"") -> bytes:
    """Encode a frame."""
    return HEADER.pack(kind, number, len(content)) + content


def not_run(how: int, reason: str, error: int = 0) -> bytes:
    """Encode the content of EXIT for a step that did not run, or whose outcome is unknown.

    `error` is the error code of errno(3), if there is one.
    """
    return EXIT_FIELDS.pack(how, error, False, True) + reason.encode("utf-8", "replace")[:1000]
