# Generated from ../_async/operators.py by scripts/make_sync.py: edit that file instead.

"""Operators as attributes of the client: `hpc.slurm.nodes()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resop_client._sync.client import Resop


class Action:
    """One action: called with its options, it returns its output."""

    def __init__(self, client: Resop, name: str) -> None:
        """`name` is `operator.action`."""
        self._client = client
        self._name = name

    def __repr__(self) -> str:
        return f"<action {self._name}>"

    def __call__(self, *arguments: str, **options: Any) -> Any:
        """Run the action and return its output; `arguments` are those of a command."""
        return self._client.run(self._name, *arguments, **options)


class Operator:
    """The actions of one operator, as attributes."""

    def __init__(self, client: Resop, name: str) -> None:
        """`name` is the operator's."""
        self._client = client
        self._name = name

    def __getattr__(self, name: str) -> Action:
        """Return an action; that there is one of this name is checked when it is called."""
        if name.startswith("_"):
            raise AttributeError(name)
        return Action(self._client, f"{self._name}.{name.rstrip('_')}")

    def __repr__(self) -> str:
        return f"<operator {self._name}>"
