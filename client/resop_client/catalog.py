"""The actions of a service, by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from resop_client.errors import UnknownAction


class Catalog:
    """The operators of a service and their actions; names ignore case, `-` and `_`."""

    def __init__(self, listed: Mapping[str, Any]) -> None:
        """Read the answer of GET /operators."""
        self.operators: dict[str, list[str]] = {}
        self._paths: dict[tuple[str, str], str] = {}
        for operator in listed["operators"]:
            name = operator["name"]
            self.operators[name] = sorted([*operator["commands"], *operator["operations"]])
            for kind, actions in (("opn", "operations"), ("cmd", "commands")):
                for action in operator[actions]:
                    self._paths.setdefault((_key(name), _key(action)), f"/{name}/{kind}/{action}")

    def path(self, action: str) -> str:
        """Return the path of `operator.action` or `operator:action`. Raises UnknownAction.

        An operation comes before a command of the same name; `/operator/cmd/name` is taken as it
        is.
        """
        if action.startswith("/"):
            return action
        operator, _, name = action.replace(":", ".").partition(".")
        if path := self._paths.get((_key(operator), _key(name))):
            return path
        names = {_key(each): each for each in self.operators}
        if _key(operator) not in names:
            known = [*self.operators]
            raise UnknownAction(f"there is no operator {operator!r}{_nearest(operator, known)}")
        owner = names[_key(operator)]
        hint = _nearest(name, self.operators[owner])
        raise UnknownAction(f"operator {owner!r} has no action {name!r}{hint}")


def _key(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f" ({', '.join(sorted(names))})"
