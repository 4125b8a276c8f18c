"""Questions asked once for many: identical requests of a user share one task and its answer.

An action that only asks declares for how long its answer may be shared (`share_for`). Who asks the
same while it runs, or within that time of its end, gets that same task, unless a task of the user
that may have changed something has ended meanwhile. Each API process shares by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.state.task_waiters import final_result
from resop.messaging.messages import Resync, TaskEnded
from resop.storage.models import State, Task

_Owner = tuple[str, str]
"""User and cluster."""


@dataclass(slots=True, eq=False)
class SharedAnswer:
    """One that is being asked, or has just been answered."""

    digest: str
    """Of what is asked."""
    task: Task
    """As it was put, or as it has ended where its result came with the word of that."""
    share_for: float
    """Seconds."""
    queued: asyncio.Future[bool]
    """Done when its task is in the queue (True), or could not be put there."""
    ended_at: float | None = None
    """time.monotonic"""

    @property
    def age(self) -> float:
        """Seconds since it was answered; 0 while it is not."""
        return 0.0 if self.ended_at is None else time.monotonic() - self.ended_at

    def serves(self, task: Task, max_age: float) -> bool:
        """Whether who would make `task` can share it.

        While it runs, within a login alone: the end of another one could make it fail.
        """
        if self.ended_at is None:
            return max_age > 0 and self.task.credential == task.credential
        return self.age <= min(max_age, self.share_for) and max_age > 0


class AnswerCache:
    """What each user asks, in one API process."""

    def __init__(self) -> None:
        self._asked: dict[_Owner, dict[str, SharedAnswer]] = {}
        """By owner, then by digest of the request."""

    def find(self, digest: str, task: Task, max_age: float) -> SharedAnswer | None:
        """The question whose answer the maker of `task` can share."""
        question = self._asked.get(_owner(task), {}).get(digest)
        return question if question is not None and question.serves(task, max_age) else None

    @contextlib.contextmanager
    def publishing(self, digest: str, task: Task, share_for: float) -> Iterator[None]:
        """In here `task` is put into the queue; others may share it from now on."""
        put = asyncio.get_running_loop().create_future()
        question = SharedAnswer(digest, task, share_for, put)
        self._asked.setdefault(_owner(task), {})[digest] = question
        try:
            yield
            put.set_result(True)
        finally:
            if not put.done():
                put.set_result(False)
                self.forget(question)

    def on_task_ended(self, message: TaskEnded | Resync) -> None:
        """Drop the answers that the ended task may have changed; all of them for Resync."""
        if isinstance(message, Resync) or not (message.read_only or message.username):
            self._asked.clear()
            return
        owner = message.username, message.cluster
        if not message.read_only:
            self._asked.pop(owner, None)
            return
        for question in list(self._asked.get(owner, {}).values()):
            if question.task.id == message.task:
                self._answered(question, final_result(message))

    def _answered(self, question: SharedAnswer, result: dict[str, Any] | None) -> None:
        question.ended_at = time.monotonic()
        if result is not None:
            question.task = question.task.model_copy(update=result)
        if State(question.task.state).ended and question.task.state != State.SUCCEEDED:
            self.forget(question)
        else:
            asyncio.get_running_loop().call_later(question.share_for, self.forget, question)

    def forget(self, question: SharedAnswer) -> None:
        """Its answer is shared no more."""
        whose = _owner(question.task)
        asked = self._asked.get(whose, {})
        if asked.get(question.digest) is question:
            del asked[question.digest]
            if not asked:
                del self._asked[whose]


def _owner(task: Task) -> _Owner:
    return task.username, task.cluster
