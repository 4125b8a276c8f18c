"""The root path: what the addresses of this service begin with for its clients, such as `/resop`.

A proxy may serve resop below a path. `api/middleware/root_path.py` finds it out, and removes it
from the request; whatever writes an address into an answer puts it in front.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

_STATE_KEY = "root_path"


def root_path_of(scope: Scope) -> str:
    """Return the root path of a request; empty for a service at the root of its name."""
    return str(scope.get("state", {}).get(_STATE_KEY, ""))


def set_root_path(scope: Scope, root_path: str) -> None:
    """Note the root path of a request."""
    scope.setdefault("state", {})[_STATE_KEY] = root_path


def public_path(scope: Scope) -> str:
    """Return the path of a request as its client sent it to the proxy."""
    return root_path_of(scope) + str(scope["path"])


def with_root_path(root_path: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Return paths with and without the root path, which a proxy may keep or remove."""
    return tuple(dict.fromkeys(path for each in paths for path in (each, root_path + each)))
