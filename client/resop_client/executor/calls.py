"""Calls as they are sent to the cluster: pickled, many of them in one file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from resop_client.executor import remote

PROGRAM = "program.pyz"
"""The file that runs calls on the cluster."""


@dataclass(eq=False, slots=True)
class Call:
    """A call, and the future that gets its result."""

    function: bytes
    arguments: bytes
    future: Future[Any] = field(default_factory=Future)
    _notified: bool = False

    def notify_if_cancelled(self) -> None:
        """Wake the threads that wait for the future if it was cancelled."""
        if self.future.cancelled() and not self._notified:
            self._notified = True
            self.future.set_running_or_notify_cancel()


def pickled_function(function: Callable[..., Any]) -> bytes:
    """Return a function as bytes, with all that only this program has."""
    content: bytes = cloudpickle.dumps(function)
    return content


def pickled_arguments(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> bytes:
    """Return the arguments of a call as bytes."""
    content: bytes = cloudpickle.dumps((tuple(arguments), dict(keywords)))
    return content


def calls_file(calls: Sequence[Call]) -> bytes:
    """Return the file of some calls; a function that several have is in it once."""
    pieces: list[bytes] = []
    table: list[bytes] = []
    places: dict[bytes, int] = {}
    end = remote.COUNT.size + remote.ENTRY.size * len(calls)
    for call in calls:
        if call.function not in places:
            places[call.function] = end
            pieces.append(call.function)
            end += len(call.function)
        entry = (places[call.function], len(call.function), end, len(call.arguments))
        table.append(remote.ENTRY.pack(*entry))
        pieces.append(call.arguments)
        end += len(call.arguments)
    return b"".join([remote.COUNT.pack(len(calls)), *table, *pieces])


def program_file() -> bytes:
    """Return a file that Python can run: the code for the cluster, and cloudpickle."""
    content = io.BytesIO()
    package = Path(cloudpickle.__file__).parent
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(remote.__file__, "__main__.py")
        for module in sorted(package.glob("*.py")):
            archive.write(module, f"cloudpickle/{module.name}")
    return content.getvalue()
