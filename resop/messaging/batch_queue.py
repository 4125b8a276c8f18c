"""What many threads put in, one takes out: all that has come meanwhile at a time."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class BatchQueue(Generic[T]):
    """First come, first served; one thread takes."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[T | None] = queue.SimpleQueue()

    def put(self, item: T) -> None:
        """Put one in; does not wait."""
        self._items.put(item)

    def close(self) -> None:
        """`groups` ends when all that was put in before is taken."""
        self._items.put(None)

    def groups(self, most: int) -> Iterator[list[T]]:
        """What has come, waiting for the first of each group; `most` at a time."""
        while (item := self._items.get()) is not None:
            group = [item]
            while len(group) < most and not self._items.empty():
                if (further := self._items.get()) is None:
                    self.close()  # again, for the next turn
                    break
                group.append(further)
            yield group
