"""An operation: a typed Python function that chains steps becomes an endpoint.

The function is the interface: parameters after `shell` are the options, their annotations,
defaults and descriptions become the request body, its JSON schema and the form; the docstring
of the module is the description.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
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

from resop.actions.login_gateway import LoginGateway
from resop.actions.options import accepts_secret, check_options
from resop.actions.shell import Shell
from resop.errors import BrokenOperator, InvalidOptions
from resop.types import ActionKind

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Shell | LoginGateway)


class Operation(Generic[P, R]):
    """A decorated function: called like the function itself, and described for the API."""

    kind = ActionKind.OPERATION

    def __init__(
        self,
        function: Callable[..., R],
        timeout: float | None,
        examples: Sequence[Mapping[str, Any]] = (),
        preview: bool = False,
        resumable: bool = False,
        share_for: float | None = None,
    ) -> None:
        self.function = function
        self.timeout = timeout
        self.preview = preview
        self.resumable = resumable
        self.share_for = share_for
        self.examples = [dict(example) for example in examples]
        self.name = function.__name__
        self.operator = ""  # the catalog knows which folder the file stands in
        self.module = function.__module__
        self.line = function.__code__.co_firstlineno
        module_doc = inspect.getdoc(sys.modules.get(self.module)) or ""
        self.description = module_doc or inspect.getdoc(function) or ""
        self.options, self.in_api = self._read_signature()
        self._check_described()
        self._check_examples()
        self._check_shared()
        self.__doc__ = function.__doc__

    @property
    def title(self) -> str:
        """`operator:name`, as answers and logs show it."""
        return f"{self.operator}:{self.name}"

    def __call__(self, shell: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself: operations call each other with their own shell.

        One of another operator finds its own declared commands by their bare names.
        """
        if isinstance(shell, Shell) and self.operator not in ("", shell.operator):
            shell = copy(shell)  # shares the door and what was registered to undo
            shell.operator = self.operator
        return self.function(shell, *args, **kwargs)

    def arguments(self, options: BaseModel) -> dict[str, Any]:
        """Validated options as keyword arguments of the function."""
        return {
            str(field.alias): getattr(options, name)
            for name, field in type(options).model_fields.items()
        }

    def returns(self) -> dict[str, Any]:
        """JSON schema of what the operation answers; empty when it does not say.

        Empty, too, for a type that pydantic cannot describe: any class of the author's own, and
        typing.TypedDict before Python 3.12 (typing_extensions has one for every version).
        """
        hint = get_type_hints(self.function, include_extras=True).get("return", Any)
        try:
            return TypeAdapter(hint).json_schema() if hint is not type(None) else {"type": "null"}
        except PydanticUserError:
            return {}

    def _read_signature(self) -> tuple[type[BaseModel], bool]:
        hints = get_type_hints(self.function, include_extras=True)
        parameters = list(inspect.signature(self.function).parameters.values())
        first, rest = parameters[:1], parameters[1:]
        owner = hints.get(first[0].name) if first else None
        if owner not in (Shell, LoginGateway):
            found = f"not '{first[0]}'" if first else "there is none"
            raise self._broken(f"the first parameter must be 'shell: Shell', {found}")
        if inspect.iscoroutinefunction(self.function) is (owner is Shell):
            kind = "an ordinary 'def'" if owner is Shell else "'async def'"
            raise self._broken(f"with a {owner.__name__} it must be {kind}")
        fields: dict[str, Any] = {}
        for name, hint, default in self._declared(rest, hints):
            # An alias, since an option may have a name that a model already uses ('json', 'copy').
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
        """Name, type and default (... for none) of each option."""
        for parameter in parameters:
            hint = hints.get(parameter.name)
            if parameter.kind is parameter.VAR_KEYWORD and get_origin(hint) is Unpack:
                (shared,) = get_args(hint)
                for name, each in get_type_hints(shared, include_extras=True).items():
                    yield name, *_unqualified(each, name in shared.__required_keys__)
                continue
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise self._broken(f"'{parameter}': an operation names each of its options")
            if isinstance(parameter.default, FieldInfo):
                raise self._broken(f"'{parameter.name}': Field() belongs into Annotated[…]")
            if parameter.name not in hints:
                raise self._broken(f"the parameter '{parameter.name}' has no type")
            yield (
                parameter.name,
                hint,
                (... if parameter.default is parameter.empty else parameter.default),
            )

    def _check_described(self) -> None:
        """What cannot be described as JSON is found at start-up, not by whoever asks first."""
        try:
            self.options.model_json_schema()
        except PydanticUserError as fault:
            reason = str(fault).splitlines()[0]
            raise self._broken(f"a type that JSON does not know: {reason}") from None

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
            raise self._broken("'share_for' is more than 0 s, and for what runs on the cluster")
        if accepts_secret(self.options):
            raise self._broken("'share_for': an answer to a secret is not shared")

    def _broken(self, fault: str) -> BrokenOperator:
        file = Path(inspect.getsourcefile(self.function) or self.module)
        return BrokenOperator(f"{file}:{self.line}: operation {self.name}: {fault}")


def _unqualified(hint: Any, is_required: bool) -> tuple[Any, Any]:
    """The type of a TypedDict's key, and its default as an option: ... where it is required."""
    # Where annotations are texts, the TypedDict itself has not seen the qualifier.
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
) -> Any:
    """Make an endpoint of a function `name(shell: Shell, option: type = default, …) -> answer`.

    `**options: Unpack[T]` at the end stands for the options that a TypedDict declares, so that
    several operations can share them. `timeout` is the time limit of the whole operation in
    seconds (the service's TASK_TIMEOUT when not given). `examples` are options as a request
    would give them: shown with the description, checked when the file is loaded. With `preview`
    the API plays the operation up to its first step, which a dry run shows, and refuses what it
    refuses until then: for one that does nothing else before that step. With `resumable` another
    worker takes it up should its own die or be stopped: it is called again, and its steps answer
    what they have answered before; for one that asks for the same steps again then, whatever time
    it is. `share_for` is for one that only asks: identical requests of a user share one answer, so
    many seconds long. Raises BrokenOperator, with file and line, for a signature that cannot be an
    endpoint.
    """
    if function is not None:
        return Operation(function, timeout, examples, preview, resumable, share_for)
    return lambda decorated: Operation(decorated, timeout, examples, preview, resumable, share_for)
