"""Operators as attributes of the client: `hpc.slurm.nodes()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resop_client._async.client import AsyncResop


class AsyncAction:
    """One action: called with its options, it returns its output."""

    def __init__(self, client: AsyncResop, name: str) -> None:
        """`name` is `operator.action`."""
        self._client = client
        self._name = name

    def __repr__(self) -> str:
        return f"<action {self._name}>"

    async def __call__(self, *arguments: str, **options: Any) -> Any:
        """Run the action and return its output; `arguments` are those of a command."""
        return await self._client.run(self._name, *arguments, **options)


class AsyncOperator:
    """The actions of one operator, as attributes."""

    def __init__(self, client: AsyncResop, name: str) -> None:
        """`name` is the operator's."""
        self._client = client
        self._name = name

    def __getattr__(self, name: str) -> AsyncAction:
        """Return an action; that there is one of this name is checked when it is called."""
        if name.startswith("_"):
            raise AttributeError(name)
        return AsyncAction(self._client, f"{self._name}.{name.rstrip('_')}")

    def __repr__(self) -> str:
        return f"<operator {self._name}>"
