"""By their tags tasks are found without reading all that their user has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import insert

from resop.storage.models import TASK_TAG, Task, TaskTag

ADD_TAGGED = insert(TASK_TAG)


def tag_id(username: str, cluster: str, tag: str) -> str:
    """What a user's tag is known by: SHA-256, hex.

    A digest, since a database's collation takes tags for the same that only look so.
    """
    return hashlib.sha256(
        "\0".join((username, cluster, tag)).encode("utf-8", "replace")
    ).hexdigest()


def task_ids_with_tag(
    task_id: str, username: str, cluster: str, tags: Iterable[str]
) -> list[TaskTag]:
    """The rows of a user's task for its tags, one for each that differs."""
    return [TaskTag(tag=tag_id(username, cluster, tag), task=task_id) for tag in sorted(set(tags))]


def tag_rows(tasks: Iterable[Task]) -> list[TaskTag]:
    """The rows of many tasks."""
    return [
        row
        for each in tasks
        for row in task_ids_with_tag(each.id, each.username, each.cluster, each.tags)
    ]
