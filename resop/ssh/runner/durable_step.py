"""Durable steps, which survive their connection and their worker, and the states they pass.

docs/runner.md draws the states ("Durable steps: states"); a test compares it with `TRANSITIONS`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from typing import Any

from resop.errors import ClusterUnreachable, ResopError
from resop.steps.output import NoiseFilter
from resop.steps.step import StepRequest

STDIN_LIMIT = 1 << 20
"""The largest standard input in bytes: START carries it, so that the step has all of it or none."""


_SKIP_OUTPUT = 1 << 60
"""An offset beyond any output: the runner sends none of it."""


class DurabilityUnavailable(ClusterUnreachable):
    """The login node cannot run durable steps; nothing was sent."""


class RunnerUnavailable(DurabilityUnavailable):
    """This connection has no runner, which durable steps need; a later connection may have one."""


class NeverStarted(ResopError):
    """The step was never started, and never will be."""


class IllegalTransition(RuntimeError):
    """A durable step was asked for a transition that its state does not have."""


class StepState(Enum):
    """The state of a durable step, as far as this worker knows it."""

    NEW = "no START was sent"
    SENT = "one START may have arrived, and it was the first"
    MAYBE_SENT = "an earlier START may have started it; another START follows it, or starts it"
    ATTACH_ONLY = "it is followed where it was started; where it was not, it never will be"
    ENDING = "it is ended where it was started; where it was not, it never will be"
    DONE = "its outcome is known, or known to be lost"


class Transition(Enum):
    """An event that changes the state of a durable step."""

    REQUEST = "request"
    SEND = "send"
    ATTACH_ONLY = "attach_only"
    END = "end"
    NOT_DURABLE = "not_durable"
    NOT_STARTED = "not_started"
    FINISH = "finish"


_S = StepState

TRANSITIONS: Mapping[Transition, Mapping[StepState, StepState]] = {
    Transition.REQUEST: {
        _S.NEW: _S.NEW,
        _S.SENT: _S.MAYBE_SENT,
        _S.MAYBE_SENT: _S.MAYBE_SENT,
        _S.ATTACH_ONLY: _S.ATTACH_ONLY,
        _S.ENDING: _S.ENDING,
    },
    Transition.SEND: {
        _S.NEW: _S.SENT,
        _S.MAYBE_SENT: _S.MAYBE_SENT,
        _S.ATTACH_ONLY: _S.ATTACH_ONLY,
        _S.ENDING: _S.ENDING,
    },
    Transition.ATTACH_ONLY: {
        _S.SENT: _S.ATTACH_ONLY,
        _S.MAYBE_SENT: _S.ATTACH_ONLY,
        _S.ATTACH_ONLY: _S.ATTACH_ONLY,
    },
    Transition.END: {
        _S.SENT: _S.ENDING,
        _S.MAYBE_SENT: _S.ENDING,
        _S.ATTACH_ONLY: _S.ENDING,
        _S.ENDING: _S.ENDING,
    },
    Transition.NOT_DURABLE: {
        _S.SENT: _S.NEW,
        _S.MAYBE_SENT: _S.MAYBE_SENT,
        _S.ATTACH_ONLY: _S.ATTACH_ONLY,
        _S.ENDING: _S.ENDING,
    },
    Transition.NOT_STARTED: {
        _S.SENT: _S.NEW,
        _S.MAYBE_SENT: _S.NEW,
        _S.ATTACH_ONLY: _S.ATTACH_ONLY,
        _S.ENDING: _S.ENDING,
    },
    Transition.FINISH: {
        _S.SENT: _S.DONE,
        _S.MAYBE_SENT: _S.DONE,
        _S.ATTACH_ONLY: _S.DONE,
        _S.ENDING: _S.DONE,
    },
}
"""The next state by transition and state; what is not listed raises IllegalTransition."""

INITIAL_STATES = frozenset({_S.NEW, _S.MAYBE_SENT, _S.ATTACH_ONLY})
"""NEW, or what the database knows of a step that a previous worker began."""


class DurableStep:
    """One durable step, as the worker that runs it knows it.

    The client of the runner reports what it sends and receives (`request`, `mark_sent`,
    `mark_not_durable`, `mark_not_started`, `finish`); the session decides to `attach_only` or
    `end`; the worker's executor decides to `hand_off`.
    """

    __slots__ = ("_state", "handed_off", "needs_tombstone", "noise_filter", "output", "step_id")

    def __init__(
        self, step_id: str, state: StepState = StepState.NEW, *, needs_tombstone: bool = False
    ) -> None:
        """Describe the one step that the node starts for all requests with this `step_id`.

        `needs_tombstone`: another worker may have requested the step, or may still request it.
        """
        if state not in INITIAL_STATES:
            raise IllegalTransition(f"a durable step cannot begin in state {state.name}")
        self.step_id = step_id
        self._state = state
        self.needs_tombstone = needs_tombstone or state is not StepState.NEW
        """True if a START may still arrive after the step is forgotten: its ID stays taken."""
        self.handed_off = False
        """True once the worker leaves the step to another one: cancelling it here lets it run."""
        self.output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        """The bytes received of stdout (1) and stderr (2), over all connections."""
        self.noise_filter: NoiseFilter | None = None
        """The filter of the output over all connections, where rc files print before it."""

    @property
    def state(self) -> StepState:
        """The state, which only the transitions below change."""
        return self._state

    @property
    def may_be_started(self) -> bool:
        """True if the node may have started the step."""
        return self._state is not StepState.NEW

    @property
    def is_done(self) -> bool:
        """True once the node has reported the outcome, or that nobody knows it."""
        return self._state is StepState.DONE

    @property
    def is_ending(self) -> bool:
        """True if the node is asked to end the step."""
        return self._state is StepState.ENDING

    @property
    def is_attach_only(self) -> bool:
        """True if the node must not start the step any more."""
        return self._state in (StepState.ATTACH_ONLY, StepState.ENDING)

    def request(self, stdin: bytes | None) -> dict[str, Any]:
        """Return the fields of START that request the step.

        Raises DurabilityUnavailable for a standard input of more than STDIN_LIMIT bytes.
        """
        if stdin is not None and len(stdin) > STDIN_LIMIT:
            raise DurabilityUnavailable(f"a standard input of {len(stdin)} bytes; nothing was sent")
        self._go(Transition.REQUEST)
        self.needs_tombstone = self.needs_tombstone or self.may_be_started
        received = [len(self.output[1]), len(self.output[2])]
        return {
            "step_id": self.step_id,
            "attach_only": self.is_attach_only,
            "end": self.is_ending,
            "stdin": base64.b64encode(stdin or b"").decode(),
            "offsets": [_SKIP_OUTPUT, _SKIP_OUTPUT] if self.is_ending else received,
        }

    def mark_sent(self) -> None:
        """Note that START leaves for the node."""
        self._go(Transition.SEND)

    def attach_only(self) -> None:
        """From now on only follow the step: it is too late to start it."""
        self._go(Transition.ATTACH_ONLY)

    def end(self) -> None:
        """From now on request the step only to end it, and ask for none of its output."""
        self._go(Transition.END)

    def mark_not_durable(self) -> None:
        """Note that the node refused this START; an earlier one may have started the step."""
        self._go(Transition.NOT_DURABLE)

    def mark_not_started(self) -> None:
        """Note that the node could not start the step, and has forgotten its ID."""
        self._go(Transition.NOT_STARTED)

    def finish(self) -> None:
        """Note that the node reported the outcome, or that nobody knows it."""
        self._go(Transition.FINISH)

    def hand_off(self) -> None:
        """Leave the step to another worker; whatever its state is."""
        self.handed_off = True

    def _go(self, transition: Transition) -> None:
        after = TRANSITIONS[transition].get(self._state)
        if after is None:
            raise IllegalTransition(
                f"durable step {self.step_id}: no {transition.value} in state {self._state.name}"
            )
        self._state = after


class StepIdGenerator:
    """Generates the IDs of a task's steps: the same IDs whenever the task runs the same steps.

    The digest is keyed: a plain one would let anybody on the node test guesses of secret input.
    """

    def __init__(self, task_id: str, secret: str) -> None:
        self._task_id = task_id
        self._secret = secret.encode()
        self._counts: Counter[str] = Counter()

    def next_id(self, step: StepRequest, content: bytes = b"") -> str:
        """Return the ID of the next step equal to this one: at most 64 characters."""
        parts = [self._task_id.encode(), step.line.encode(), step.input or b"", content]
        text = b"".join(b"%d:%s" % (len(part), part) for part in parts)
        digest = hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:16]
        self._counts[digest] += 1
        return f"{self._task_id}-{digest}-{self._counts[digest]}"
