"""Let identical requests of a user share one task and its answer.

A read-only action declares for how long its answer may be shared (`share_for`). An identical
request while the task runs, or within that time of its end, gets the same task, unless another
task of the user that may have changed something has ended meanwhile. Each API process shares by
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.state.subscription import Subscription
from api.state.task_waiters import final_result
from resop.messaging.messages import Resync, TaskEnded
from resop.storage.models import State, Task

_Owner = tuple[str, str]
"""User and cluster."""


@dataclass(slots=True, eq=False)
class SharedAnswer:
    """The answer of a task that runs, or has just ended."""

    digest: str
    """Digest of the request."""
    task: Task
    """The task as it was queued, or as it ended if its result came with the message."""
    share_for: float
    """Seconds."""
    queued: asyncio.Future[bool]
    """Becomes True when the task is queued, False if that failed."""
    ended_at: float | None = None
    """time.monotonic"""

    @property
    def age(self) -> float:
        """The time since the task ended in seconds; 0 while it runs."""
        return 0.0 if self.ended_at is None else time.monotonic() - self.ended_at

    def serves(self, task: Task, max_age: float) -> bool:
        """Return True if a request for `task` may share this answer.

        A running task is shared only within one login, whose end would make the task fail.
        """
        if self.ended_at is None:
            return max_age > 0 and self.task.credential == task.credential
        return self.age <= min(max_age, self.share_for) and max_age > 0


class AnswerCache:
    """The shared answers of one API process.

    Answers are shared only while this process is subscribed, and so learns of every task's end.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._answers: dict[_Owner, dict[str, SharedAnswer]] = {}
        """By owner, then by digest of the request."""

    def find(self, digest: str, task: Task, max_age: float) -> SharedAnswer | None:
        """Return an answer that a request for `task` may share, at most `max_age` seconds old."""
        if not self._subscription.connected:
            return None
        answer = self._answers.get(_owner(task), {}).get(digest)
        return answer if answer is not None and answer.serves(task, max_age) else None

    @contextlib.contextmanager
    def publishing(self, digest: str, task: Task, share_for: float) -> Iterator[None]:
        """Offer the answer of `task`, which is queued inside of this context, from now on."""
        if not self._subscription.connected:
            yield
            return
        queued = asyncio.get_running_loop().create_future()
        answer = SharedAnswer(digest, task, share_for, queued)
        self._answers.setdefault(_owner(task), {})[digest] = answer
        try:
            yield
            queued.set_result(True)
        finally:
            if not queued.done():
                queued.set_result(False)
                self.forget(answer)

    def on_task_ended(self, message: TaskEnded | Resync) -> None:
        """Drop the answers that the ended task may have changed; all of them for Resync."""
        if isinstance(message, Resync) or not (message.read_only or message.username):
            self._answers.clear()
            return
        owner = message.username, message.cluster
        if not message.read_only:
            self._answers.pop(owner, None)
            return
        for answer in list(self._answers.get(owner, {}).values()):
            if answer.task.id == message.task:
                self._on_answer(answer, final_result(message))

    def _on_answer(self, answer: SharedAnswer, result: dict[str, Any] | None) -> None:
        answer.ended_at = time.monotonic()
        if result is not None:
            answer.task = answer.task.model_copy(update=result)
        if State(answer.task.state).ended and answer.task.state != State.SUCCEEDED:
            self.forget(answer)
        else:
            asyncio.get_running_loop().call_later(answer.share_for, self.forget, answer)

    def forget(self, answer: SharedAnswer) -> None:
        """Stop sharing an answer."""
        owner = _owner(answer.task)
        answers = self._answers.get(owner, {})
        if answers.get(answer.digest) is answer:
            del answers[answer.digest]
            if not answers:
                del self._answers[owner]


def _owner(task: Task) -> _Owner:
    return task.username, task.cluster
