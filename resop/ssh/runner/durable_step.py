"""A step that outlives its connection: how it is found again, and what has come of it so far."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from resop.errors import ClusterUnreachable, ResopError
from resop.steps.output import NoiseFilter
from resop.steps.step import StepRequest

GIVEN_LIMIT = 1 << 20
"""Bytes of standard input: they go with START, so that the step has all of it or none."""


_ALL = 1 << 60


class DurabilityUnavailable(ClusterUnreachable):
    """The login node cannot keep a step; nothing was sent."""


class RunnerUnavailable(DurabilityUnavailable):
    """It cannot over this connection, as there is no runner; over a later one it may."""


class NeverStarted(ResopError):
    """The step was never started, and never will be."""


@dataclass(slots=True, eq=False)
class DurableStep:
    """One step that survives."""

    name: str
    """Started once under this name, whoever asks, and however often."""
    sent: bool = False
    """Whether it may have been started."""
    before: bool = False
    """Whether it may have been, before it was asked for the last time."""
    again: bool = False
    """Whether somebody may still ask for it."""
    find: bool = False
    """It is only looked for; if it was never started, it never will be."""
    end: bool = False
    """It is ended when it is found, and what it printed is not asked for."""
    over: bool = False
    """How it ended was heard, or that nobody knows."""
    leaving: bool = False
    """Who gives it up leaves it running, for somebody else to find."""
    after: NoiseFilter | None = None
    """Passes on what comes of it, over whichever connection, where rc files print before it."""
    output: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})

    def request(self, stdin: bytes | None) -> dict[str, Any]:
        """What START says of it; NotKept for a standard input that is too large."""
        if stdin is not None and len(stdin) > GIVEN_LIMIT:
            raise DurabilityUnavailable(f"a standard input of {len(stdin)} bytes; nothing was sent")
        self.before = self.sent
        self.again = self.again or self.sent
        return {
            "keep": self.name,
            "find": self.find,
            "end": self.end,
            "given": base64.b64encode(stdin or b"").decode(),
            "have": [_ALL, _ALL] if self.end else [len(self.output[1]), len(self.output[2])],
        }


class StepIdGenerator:
    """The names of a task's steps: the same whenever it asks for the same.

    Made with a secret, since what a step is given may be guessed from its digest.
    """

    def __init__(self, task_id: str, secret: str) -> None:
        self._task_id = task_id
        self._secret = secret.encode()
        self._seen: Counter[str] = Counter()

    def of(self, step: StepRequest, content: bytes = b"") -> str:
        """The name of the next step that is like this one; of at most 64 characters."""
        parts = [self._task_id.encode(), step.line.encode(), step.input or b"", content]
        said = b"".join(b"%d:%s" % (len(part), part) for part in parts)
        digest = hmac.new(self._secret, said, hashlib.sha256).hexdigest()[:16]
        self._seen[digest] += 1
        return f"{self._task_id}-{digest}-{self._seen[digest]}"
