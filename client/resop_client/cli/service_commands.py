"""The commands of the service in the same program: `resop up`, `resop check`, …

The distribution of the service adds them by entry points of the group `resop.commands`: each names
a function that reads `sys.argv` itself.

Two names belong to both sides. What follows decides: `resop api GET /limits` and
`resop keys list` are the client's, `resop api` and `resop keys --user ada` are the service's.
Without the service, all are the client's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

GROUP = "resop.commands"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
CLIENT_WORDS: Mapping[str, Collection[str]] = {
    "api": METHODS,
    "keys": ("list", "create", "revoke"),
}
"""The words after the names of both sides by which the client is meant."""


def is_for_client(words: Sequence[str]) -> bool:
    """Return True if arguments that begin with a command of the service mean the client's."""
    following = words[1] if len(words) > 1 else ""
    return following.upper() in {each.upper() for each in CLIENT_WORDS.get(words[0], ())}


def service_command(words: Sequence[str]) -> Callable[[], None] | None:
    """Return the command of the service that the arguments name; None if there is none."""
    if not words or words[0].startswith("-") or is_for_client(words):
        return None
    found = next(iter(_entry_points(words[0])), None)
    command: Callable[[], None] | None = found.load() if found else None
    return command


def service_command_names() -> list[str]:
    """Return the names of the service's commands; none if only the client is installed."""
    return sorted({each.name for each in entry_points(group=GROUP)})


def _entry_points(name: str) -> Collection[EntryPoint]:
    return entry_points(group=GROUP, name=name)
