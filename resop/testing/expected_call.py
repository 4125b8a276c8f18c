"""A call of another operation that a test answers, so that only the calling operation is tested."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from resop.actions.answer import check_answer
from resop.errors import OperationFault


@dataclass(slots=True)
class ExpectedCall:
    """A called operation that a fake shell expects, and the answer that it gives in its place."""

    operation: str
    """`operator:name`."""
    options: dict[str, Any]
    """The options that the call names, as JSON, secrets as they are."""
    output: Any = None
    """The answer as JSON, of the return type that the operation declares."""
    raises: Exception | None = None
    """An error to raise instead of an answer."""
    undo: Sequence[str] = ()
    """The command lines that the called operation registers with `on_failure`."""

    def __str__(self) -> str:
        return f"a call of {self.operation}"

    def is_of(self, title: str) -> bool:
        """Return True for the operation with this title.

        Outside a catalog, an operation does not know its operator: its title is `:name`.
        """
        return title == self.operation or title == f":{self.operation.rpartition(':')[2]}"

    def fault(
        self,
        function: Callable[..., Any],
        shell: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> str | None:
        """Return what is wrong with a call or with the expected answer, or None.

        Raises TypeError, as the function does, for an option that the function does not take.
        """
        options = named_options(function, shell, args, kwargs)
        if options != self.options:
            return (
                f"expected: {self} with the options {self.options!r}\n"
                f"got:      the options {options!r}"
            )
        try:
            self.answer(function)
        except OperationFault as wrong:
            return f"the test's output cannot come from this operation: {wrong.message}"
        return None

    def answer(self, function: Callable[..., Any]) -> Any:
        """Return the output in the operation's return type. Raises OperationFault."""
        if self.raises is not None:
            return None
        return check_answer(self.operation, function, self.output)


def named_options(
    function: Callable[..., Any], shell: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options that a call names, as JSON, secrets as they are."""
    signature = inspect.signature(function)
    named = dict(signature.bind(shell, *args, **kwargs).arguments)
    del named[next(iter(signature.parameters))]  # the shell
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= named.pop(parameter.name, {})
    options: dict[str, Any] = to_jsonable_python(_revealed(named))
    return options


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {name: _revealed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed(each) for each in value]
    return value
