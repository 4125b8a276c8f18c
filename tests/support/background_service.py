"""A service of the tests that runs while a `with` statement lasts."""

from types import TracebackType
from typing import Self


class BackgroundService:
    """Starts with a `with` statement and stops with it, also if it has started only in part."""

    def start(self) -> None:
        """Start the service, and wait until it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the service; do nothing if it has not started."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
