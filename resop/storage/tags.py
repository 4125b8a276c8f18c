"""By their tags tasks are found without reading all that their user has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import insert

from resop.storage.models import TAGGED, Tagged, Task

ADD_TAGGED = insert(TAGGED)


def tag_id(username: str, cluster: str, tag: str) -> str:
    """What a user's tag is known by: SHA-256, hex.

    A digest, since a database's collation takes tags for the same that only look so.
    """
    return hashlib.sha256(
        "\0".join((username, cluster, tag)).encode("utf-8", "replace")
    ).hexdigest()


def tagged(task_id: str, username: str, cluster: str, tags: Iterable[str]) -> list[Tagged]:
    """The rows of a user's task for its tags, one for each that differs."""
    return [Tagged(tag=tag_id(username, cluster, tag), task=task_id) for tag in sorted(set(tags))]


def tagged_tasks(tasks: Iterable[Task]) -> list[Tagged]:
    """The rows of many tasks."""
    return [
        row for each in tasks for row in tagged(each.id, each.username, each.cluster, each.tags)
    ]
