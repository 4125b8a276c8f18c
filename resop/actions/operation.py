"""An operation: a typed Python function that runs steps, published as an endpoint.

The signature is the interface: the parameters after `shell` are the options, and their types,
defaults and descriptions become the request body, its JSON schema and the form. The docstring of
the module is the description.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Concatenate,
    Generic,
    NotRequired,
    ParamSpec,
    Required,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from resop.actions.base import ActionBase
from resop.actions.login_gateway import LoginGateway
from resop.actions.options import accepts_secret, check_options
from resop.actions.shell import Shell
from resop.errors import BrokenOperator, InvalidOptions
from resop.types import ActionKind

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Shell | LoginGateway)


class Operation(ActionBase, Generic[P, R]):
    """A function decorated with `@operation`: called like the function, described for the API.

    One operation may call another and pass the shell on: `submit(shell, script="#!/bin/sh …")`.
    """

    kind = ActionKind.OPERATION

    def __init__(
        self,
        function: Callable[..., R],
        timeout: float | None,
        examples: Sequence[Mapping[str, Any]] = (),
        preview: bool = False,
        resumable: bool = False,
        share_for: float | None = None,
        runs_code: bool = False,
        dry_run: bool = False,
    ) -> None:
        self.function = function
        self.timeout = timeout
        self.preview = preview
        self.resumable = resumable
        self.share_for = share_for
        self.runs_code = runs_code
        self.dry_run = dry_run
        self.examples = [dict(example) for example in examples]
        self.name = function.__name__
        self.operator = ""  # set by the catalog: the name of the file's folder
        self.module = function.__module__
        self.line = function.__code__.co_firstlineno
        module_doc = inspect.getdoc(sys.modules.get(self.module)) or ""
        self.description = module_doc or inspect.getdoc(function) or ""
        self.options, self.in_api = self._read_signature()
        self._check_described()
        self._check_examples()
        self._check_shared()
        if self.dry_run and self.in_api:
            raise self._broken("'dry_run' needs a shell")
        self.__doc__ = function.__doc__

    def __call__(self, shell: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function: operations call each other and pass the shell on.

        The called operation finds the commands of its operator by bare names.
        """
        if not isinstance(shell, Shell):
            return self.function(shell, *args, **kwargs)
        own: Shell = shell
        if self.operator not in ("", shell.operator):
            own = copy(shell)  # shares the executor and the undo steps
            own.operator = self.operator
        return own.call_operation(self.title, self.function, *args, **kwargs)

    def arguments(self, options: BaseModel) -> dict[str, Any]:
        """Return validated options as keyword arguments of the function."""
        return {
            str(field.alias): getattr(options, name)
            for name, field in type(options).model_fields.items()
        }

    def returns(self) -> dict[str, Any]:
        """Return the JSON schema of the answer; empty if the function declares no return type.

        The schema is empty, too, for a type that pydantic cannot describe: a plain class, or
        typing.TypedDict before Python 3.12 (use the one of typing_extensions).
        """
        hint = get_type_hints(self.function, include_extras=True).get("return", Any)
        try:
            return TypeAdapter(hint).json_schema() if hint is not type(None) else {"type": "null"}
        except PydanticUserError:
            return {}

    @cached_property
    def returns_secret(self) -> bool:
        """True if the answer may contain a Secret, which only the first answer shows."""
        return '"writeOnly": true' in json.dumps(self.returns())

    def _read_signature(self) -> tuple[type[BaseModel], bool]:
        hints = get_type_hints(self.function, include_extras=True)
        parameters = list(inspect.signature(self.function).parameters.values())
        first, rest = parameters[:1], parameters[1:]
        owner = hints.get(first[0].name) if first else None
        if owner not in (Shell, LoginGateway):
            found = f"not '{first[0]}'" if first else "but there is none"
            raise self._broken(f"the first parameter must be 'shell: Shell', {found}")
        if inspect.iscoroutinefunction(self.function) is (owner is Shell):
            definition = "an ordinary 'def'" if owner is Shell else "'async def'"
            raise self._broken(f"with a {owner.__name__} it must be {definition}")
        fields: dict[str, Any] = {}
        for name, hint, default in self._declared(rest, hints):
            # An alias, because a model already uses some names of options ('json', 'copy').
            fields[f"option_{name}"] = (Annotated[hint, Field(alias=name)], default)
        model = create_model(
            f"{self.module.rpartition('.')[2]}_options",
            __config__=ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False),
            **fields,
        )
        return model, owner is LoginGateway

    def _declared(
        self, parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]
    ) -> Iterator[tuple[str, Any, Any]]:
        """Yield the name, type and default (... for none) of each option."""
        for parameter in parameters:
            hint = hints.get(parameter.name)
            if parameter.kind is parameter.VAR_KEYWORD and get_origin(hint) is Unpack:
                (shared,) = get_args(hint)
                for name, each in get_type_hints(shared, include_extras=True).items():
                    yield name, *_unqualified(each, name in shared.__required_keys__)
                continue
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise self._broken(f"'{parameter}': an operation must name each of its options")
            if isinstance(parameter.default, FieldInfo):
                raise self._broken(f"'{parameter.name}': Field() belongs in Annotated[…]")
            if parameter.name not in hints:
                raise self._broken(
                    f"the parameter '{parameter.name}' has no type: write "
                    f"'{parameter.name}: str', for instance"
                )
            yield (
                parameter.name,
                hint,
                (... if parameter.default is parameter.empty else parameter.default),
            )

    def _check_described(self) -> None:
        """Find a type without JSON schema at start-up, not at the first request."""
        try:
            self.options.model_json_schema()
        except PydanticUserError:
            names = [
                field.alias
                for field in self.options.model_fields.values()
                if not _has_schema(field)
            ]
            raise self._broken(f"the type of '{names[0]}' cannot be described in JSON") from None

    def _check_examples(self) -> None:
        for example in self.examples:
            try:
                check_options(self.options, example)
            except InvalidOptions as fault:
                raise self._broken(f"the example {example} is refused: {fault.message}") from None

    def _check_shared(self) -> None:
        if self.share_for is None:
            return
        if self.share_for <= 0 or self.in_api:
            raise self._broken("'share_for' must be more than 0 s, and needs a shell")
        if accepts_secret(self.options):
            raise self._broken("'share_for': an answer to a secret is not shared")

    @property
    def source(self) -> str:
        """The file and line of the function, as `file:line`."""
        return f"{Path(inspect.getsourcefile(self.function) or self.module)}:{self.line}"

    def _broken(self, fault: str) -> BrokenOperator:
        return BrokenOperator(f"{self.source}: operation {self.name}: {fault}")


def _has_schema(field: FieldInfo) -> bool:
    try:
        create_model("option", value=(field.annotation or Any, field)).model_json_schema()
    except PydanticUserError:
        return False
    return True


def _unqualified(hint: Any, is_required: bool) -> tuple[Any, Any]:
    """Return the type of a TypedDict's key, and its default as an option: ... if required."""
    # With annotations as text, the TypedDict itself has not seen the qualifier.
    if (qualifier := get_origin(hint)) in (Required, NotRequired):
        (hint,), is_required = get_args(hint), qualifier is Required
    return hint, ... if is_required else None


@overload
def operation(function: Callable[Concatenate[S, P], R], /) -> Operation[P, R]: ...
@overload
def operation(
    *,
    timeout: float | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
    preview: bool = False,
    resumable: bool = False,
    share_for: float | None = None,
    runs_code: bool = False,
    dry_run: bool = False,
) -> Callable[[Callable[Concatenate[S, P], R]], Operation[P, R]]: ...
def operation(
    function: Callable[..., Any] | None = None,
    /,
    *,
    timeout: float | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
    preview: bool = False,
    resumable: bool = False,
    share_for: float | None = None,
    runs_code: bool = False,
    dry_run: bool = False,
) -> Any:
    """Publish a function `name(shell: Shell, option: type = default, …) -> answer` as an endpoint.

    A file `operators/mysite/operations/free.py` becomes POST /mysite/opn/free:

        from resop import RemotePath, Shell, operation

        @operation(timeout=30, share_for=5, examples=[{"folder": "/scratch"}])
        def free(shell: Shell, folder: RemotePath = ".") -> list[str]:
            return shell.run("df", "-h", folder).lines

    `timeout`: time limit of the whole operation in seconds; the service's TASK_TIMEOUT by default.

    `examples`: options as a request would send them. They are shown with the description and
    validated when the file is loaded.

    `preview`: let the API run the operation up to its first step. A dry run shows that step, and
    InvalidOptions raised before it refuses the request at once. Only for an operation that does
    nothing else before its first step.

    `resumable`: let another worker call the operation again if its own worker dies or is stopped.
    Steps that ran already return their recorded results. Only for an operation that asks for the
    same steps each time, whatever the time of day.

    `share_for`: for a read-only operation, the seconds during which identical requests of a user
    share one answer.

    `runs_code`: the operation runs a program of the caller's choice, or places files that may be
    run later. `resop check` warns where a policy denies `core:run` but allows such an action.

    `dry_run`: let a dry run call the operation. Steps that only read (`reads=True`) are run; all
    others are shown, and count as done. Only for an operation that acts through its shell alone,
    and that asks `shell.dry_run` where it would wait for a change or read back what it changed.

    `**options: Unpack[T]` as the last parameter takes the options that the TypedDict `T` declares,
    so that operations can share them. Raises BrokenOperator, with file and line, for a signature
    that cannot be an endpoint.
    """
    settings = (timeout, examples, preview, resumable, share_for, runs_code, dry_run)
    if function is not None:
        return Operation(function, *settings)
    return lambda decorated: Operation(decorated, *settings)
