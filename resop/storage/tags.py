"""Index tasks by tag, so that a search by tag does not read all tasks of the user."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import insert

from resop.storage.models import TASK_TAG, Task, TaskTag

INSERT_TAG = insert(TASK_TAG)


def tag_id(username: str, cluster: str, tag: str) -> str:
    """Return the SHA-256 digest, in hex, that stands for a tag of one user on one cluster.

    A digest, because a database's collation treats some different tags as equal.
    """
    return hashlib.sha256(
        "\0".join((username, cluster, tag)).encode("utf-8", "replace")
    ).hexdigest()


def tag_rows(task_id: str, username: str, cluster: str, tags: Iterable[str]) -> list[TaskTag]:
    """Return one row for each distinct tag of a task."""
    return [TaskTag(tag=tag_id(username, cluster, tag), task=task_id) for tag in sorted(set(tags))]


def tag_rows_of(tasks: Iterable[Task]) -> list[TaskTag]:
    """Return the rows of many tasks."""
    return [
        row for task in tasks for row in tag_rows(task.id, task.username, task.cluster, task.tags)
    ]
