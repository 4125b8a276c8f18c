"""The messages of the task queue: only task ids are taken from one."""

from __future__ import annotations

import pytest

from resop.messaging.task_queue import valid_task_ids
from resop.storage.ids import new_id


def test_arguments_that_are_no_task_ids_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    good = new_id()
    bad = [7, None, {"a": 1}, ["x"], "", "x" * 37, "'; DROP TABLE task; --", "\ud83d", good.upper()]
    assert valid_task_ids([*bad, good]) == [good]
    assert caplog.messages == ["skipped 9 malformed arguments of a task message"]
    assert valid_task_ids([]) == []
