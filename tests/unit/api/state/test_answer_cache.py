"""Answers are shared until a message says that they may be outdated."""

from typing import Any

import pytest

from api.state.answer_cache import AnswerCache
from resop.messaging.messages import Resync, TaskEnded
from resop.storage.models import Task

SUCCEEDED = {"state": "succeeded", "output": 4}


def asked(task_id: str, result: dict[str, Any] | None = None) -> TaskEnded:
    return TaskEnded(task_id, "ada", "hpc", read_only=True, result=result)


def task(task_id: str, credential: str = "first", username: str = "ada") -> Task:
    return Task(
        id=task_id,
        kind="operation",
        operator="slurm",
        action="jobs",
        username=username,
        cluster="hpc",
        credential=credential,
        options={},
        time_limit=60,
    )


@pytest.fixture
async def questions() -> AnswerCache:
    made = AnswerCache(Subscription())
    with made.publishing("digest", task("t1"), 60):
        pass
    return made


def shared(questions: AnswerCache, digest: str = "digest", max_age: float = 9, **of: str) -> bool:
    return questions.find(digest, task("t2", **of), max_age) is not None


async def test_running_question_is_shared_within_its_login(questions: AnswerCache) -> None:
    assert shared(questions)
    assert not shared(questions, "other")
    assert not shared(questions, max_age=0)
    assert not shared(questions, credential="second")
    assert not shared(questions, username="bob")


async def test_answer_is_shared_with_all_logins_of_its_user(questions: AnswerCache) -> None:
    questions.on_task_ended(asked("t1", SUCCEEDED))
    found = questions.find("digest", task("t2", "second"), 9)
    assert found is not None and found.task.output == 4
    assert not shared(questions, username="bob")
    assert not shared(questions, max_age=0)


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (asked("t3", SUCCEEDED), True),
        (asked("t1"), True),
        (asked("t1", {"state": ["no state"]}), True),
        (TaskEnded("t3", "bob", "hpc", result=SUCCEEDED), True),
        (TaskEnded("t3", "ada", "other"), True),
        (TaskEnded("t3", "ada", "hpc"), False),
        (asked("t1", {"state": "failed"}), False),
        (TaskEnded("t3"), False),
        (Resync(), False),
    ],
)
async def test_what_is_heard_decides_what_is_still_shared(
    questions: AnswerCache, message: TaskEnded | Resync, kept: bool
) -> None:
    questions.on_task_ended(message)
    assert shared(questions) is kept


async def test_question_that_could_not_be_put_is_not_shared() -> None:
    questions = AnswerCache(Subscription())
    with pytest.raises(OSError, match="away"), questions.publishing("digest", task("t1"), 60):
        found = questions.find("digest", task("t2"), 9)
        raise OSError("away")
    assert found is not None and found.queued.result() is False
    assert not shared(questions)


class Subscription:
    """A subscription that may be lost."""

    connected = True


async def test_nothing_is_shared_while_the_end_of_a_task_would_not_be_heard() -> None:
    subscription = Subscription()
    answers = AnswerCache(subscription)
    with answers.publishing("digest", task("t1"), 60):
        pass
    assert shared(answers)
    subscription.connected = False
    assert not shared(answers)
    with answers.publishing("other", task("t3"), 60):  # this task's end may be missed
        pass
    subscription.connected = True
    assert not shared(answers, "other")
