"""By their tags tasks are found without reading all that their user has."""

from __future__ import annotations

import hashlib

from sqlalchemy import insert

from resop.tables import TAGGED, Tagged, Task

ADD_TAGGED = insert(TAGGED)


def tag_id(username: str, cluster: str, tag: str) -> str:
    """What a user's tag is known by: a digest, since no two tags are the same to a database then
    that only look so to its collation."""
    return hashlib.sha256(
        "\0".join((username, cluster, tag)).encode("utf-8", "replace")
    ).hexdigest()


def tagged(task: Task) -> list[Tagged]:
    """The rows of a task's tags."""
    ids = {tag_id(task.username, task.cluster, tag) for tag in task.tags}
    return [Tagged(tag=each, task=task.id) for each in ids]
