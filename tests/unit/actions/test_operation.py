"""A typed function as an endpoint: its options, its description, its errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Required, Unpack

import pytest
from pydantic import Field, ValidationError
from typing_extensions import TypedDict

from resop import Argument, Gate, Operation, Result, Secret, Shell, Username, operation
from resop.actions.command import Command, CommandEntry, OptionEntry
from resop.actions.executor import PastTask
from resop.actions.options import check_options, option_names
from resop.errors import BrokenOperator, InvalidOptions, UnknownAction
from resop.security.identity import Identity
from resop.testing import FakeShell

HERE = __file__


class Answer(TypedDict):
    """Typed answer."""

    count: int


@operation(timeout=5)
def sample(
    shell: Shell,
    json: Annotated[int, Field(ge=1, description="how many")],
    copy: Literal["a", "b"] = "a",
    names: Annotated[list[Username] | None, Field(description="who")] = None,
    password: Secret | None = None,
) -> Answer:
    """Sample docstring."""
    return Answer(count=json)


def test_signature_is_the_interface() -> None:
    schema = sample.options.model_json_schema()
    assert list(schema["properties"]) == ["json", "copy", "names", "password"]
    assert schema["required"] == ["json"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["json"]["minimum"] == 1
    assert schema["properties"]["json"]["description"] == "how many"
    assert schema["properties"]["copy"]["default"] == "a"
    assert sample.returns()["properties"] == {"count": {"title": "Count", "type": "integer"}}
    assert (sample.name, sample.timeout, sample.in_api) == ("sample", 5, False)


def test_module_docstring_is_the_description() -> None:
    assert sample.description == inspect.cleandoc(__doc__ or "")


def test_validated_options_become_keyword_arguments() -> None:
    options = check_options(sample.options, {"json": "2", "names": ["ada"], "password": "hunter2"})
    values = sample.arguments(options)
    assert (values["json"], values["copy"], values["names"]) == (2, "a", ["ada"])
    assert values["password"].get_secret_value() == "hunter2"
    assert sample(FakeShell(), **values) == {"count": 2}


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({}, ["json"]),
        ({"json": 0}, ["json"]),
        ({"json": 1, "copy": "c", "names": ["-rf"]}, ["copy", "names.0"]),
        ({"json": 1, "option_json": 2, "shell": 3}, ["option_json", "shell"]),
    ],
)
def test_every_invalid_option_is_named(values: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(InvalidOptions) as refusal:
        check_options(sample.options, values)
    assert [fault["field"] for fault in refusal.value.details["faults"]] == fields


def test_unknown_option_lists_the_declared_ones() -> None:
    with pytest.raises(InvalidOptions, match="options: json, copy, names, password"):
        check_options(sample.options, {"json": 1, "jsn": 1})


def test_operation_is_called_like_the_function_itself() -> None:
    assert sample(FakeShell(), 3) == {"count": 3}
    assert sample(FakeShell(), json=4, copy="b") == {"count": 4}


class Shared(TypedDict, total=False):
    """Options of several operations."""

    size: Required[Annotated[int, Field(ge=1, description="how large")]]
    colour: Literal["red", "blue"] | None


def test_operations_share_the_options_of_a_typed_dict() -> None:
    @operation
    def shared(shell: Shell, name: str, **options: Unpack[Shared]) -> str:
        return f"{name} {options['size']} {options.get('colour')}"

    schema = shared.options.model_json_schema()
    assert list(schema["properties"]) == ["name", "size", "colour"]
    assert schema["required"] == ["name", "size"]
    assert schema["properties"]["size"]["description"] == "how large"
    options = check_options(shared.options, {"name": "a", "size": 2})
    assert shared(FakeShell(), **shared.arguments(options)) == "a 2 None"
    assert shared(FakeShell(), "b", size=3, colour="red") == "b 3 red"
    with pytest.raises(InvalidOptions, match=r"size.*colour"):
        check_options(shared.options, {"name": "a", "size": 0, "colour": "green"})


def test_options_may_have_the_names_of_a_models_attributes() -> None:
    @operation
    def odd(shell: Shell, self: str, schema: str, model_fields: str, args: str) -> str:
        return self + schema + model_fields + args

    names = ["self", "schema", "model_fields", "args"]
    assert option_names(odd.options) == names
    options = check_options(odd.options, dict(zip(names, "abcd", strict=True)))
    assert odd(FakeShell(), **odd.arguments(options)) == "abcd"


def returning(answer: Any) -> Operation[..., Any]:
    def answered(shell: Shell) -> None: ...

    answered.__annotations__["return"] = answer
    return operation(answered)


@pytest.mark.parametrize(
    ("answer", "schema"),
    [
        (None, {"type": "null"}),
        (Any, {}),
        (list[int], {"items": {"type": "integer"}, "type": "array"}),
        (Callable, {}),
        (object, {}),
    ],
)
def test_answer_is_described_if_possible(answer: Any, schema: dict[str, Any]) -> None:
    assert returning(answer).returns() == schema


def test_answer_may_be_a_dataclass() -> None:
    assert "exit_code" in returning(Result).returns()["properties"]


def test_operation_with_a_gate_runs_in_the_api() -> None:
    @operation
    async def log_in(gate: Gate, username: Argument, password: Secret) -> Any:
        return await gate.log_in(username, password, None, None)

    assert log_in.in_api


# Functions that cannot be endpoints; each is decorated by the test.


def no_parameter() -> None: ...


def no_shell(user: str) -> None: ...


def untyped_shell(shell) -> None: ...  # type: ignore[no-untyped-def]


def untyped_option(shell: Shell, user) -> None: ...  # type: ignore[no-untyped-def]


def any_options(shell: Shell, **options: str) -> None: ...


def any_arguments(shell: Shell, *words: str) -> None: ...


def positional_only(shell: Shell, user: str, /) -> None: ...


def field_as_default(shell: Shell, user: str = Field("ada")) -> None: ...


def undescribable(shell: Shell, function: Callable[[], int]) -> None: ...


async def asynchronous(shell: Shell) -> None: ...


def synchronous(gate: Gate) -> None: ...


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (no_parameter, "the first parameter must be 'shell: Shell', but there is none"),
        (no_shell, "the first parameter must be 'shell: Shell', not 'user: 'str''"),
        (untyped_shell, "the first parameter must be 'shell: Shell', not 'shell'"),
        (untyped_option, "the parameter 'user' has no type"),
        (any_options, "'**options: 'str'': an operation must name each of its options"),
        (any_arguments, "'*words: 'str'': an operation must name each of its options"),
        (positional_only, "'user: 'str'': an operation must name each of its options"),
        (field_as_default, "'user': Field() belongs in Annotated[…]"),
        (undescribable, "the type of 'function' cannot be described in JSON"),
        (asynchronous, "with a Shell it must be an ordinary 'def'"),
        (synchronous, "with a LoginGateway it must be 'async def'"),
    ],
)
def test_signature_that_cannot_be_an_endpoint_is_refused_with_file_and_line(
    function: Callable[..., None], fault: str
) -> None:
    with pytest.raises(BrokenOperator) as refusal:
        operation(function)
    line = function.__code__.co_firstlineno
    message = refusal.value.message
    assert message.startswith(f"{HERE}:{line}: operation {function.__name__}: {fault}")


class Declared:
    """A context with one command, `queue`, of the operator `batch`."""

    def command(self, operator: str, name: str) -> Command:
        if (operator, name) != ("batch", "queue"):
            raise UnknownAction(f"{operator} has no {name}")
        return Command(operator, CommandEntry(command="squeue", name=name))

    def operation(self, operator: str, name: str) -> Operation[..., Any]:
        raise AssertionError

    def setting(
        self, name: str, operator: str, cluster: str, *, secret: bool = False
    ) -> str | None:
        return None

    def is_administrator(self, identity: Identity) -> bool:
        return False

    def past_tasks(
        self,
        identity: Identity,
        actions: Sequence[tuple[str, str]],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[PastTask]:
        raise AssertionError

    def end_logins(self, username: str, cluster: str, by: str, block: str | None) -> int:
        raise AssertionError

    def allow_logins(self, username: str, cluster: str, by: str) -> bool:
        raise AssertionError


def test_called_operation_of_another_operator_finds_its_own_commands() -> None:
    @operation
    def inner(shell: Shell) -> str:
        shell.on_failure("undo-inner")
        return shell.command("queue").stdout

    @operation
    def outer(shell: Shell) -> str:
        answer = inner(shell)
        with pytest.raises(UnknownAction):
            shell.command("queue")
        return answer

    inner.operator, outer.operator = "batch", "other"
    shell = FakeShell(operator="other").expect("squeue", stdout="1").expect("undo-inner")
    shell.context = Declared()
    assert outer(shell) == "1"
    assert shell.operator == "other"
    assert shell.undo() == (["undo-inner"], []), "what it registered is the whole task's"
    shell.finished()


def test_examples_are_checked_when_the_file_is_loaded() -> None:
    def greet(shell: Shell, name: str) -> None: ...

    assert operation(examples=[{"name": "ada"}])(greet).examples == [{"name": "ada"}]
    with pytest.raises(
        BrokenOperator,
        match=r"example .* is refused: .*nam: unknown option 'nam'; did you mean 'name'\?",
    ):
        operation(examples=[{"nam": "ada"}])(greet)


def test_answer_to_a_secret_cannot_be_shared() -> None:
    def look(shell: Shell, name: str) -> None: ...

    def nested(shell: Shell, keys: list[Secret] | None = None) -> None: ...

    assert operation(share_for=2)(look).share_for == 2
    with pytest.raises(BrokenOperator, match="an answer to a secret is not shared"):
        operation(share_for=2)(nested)
    with pytest.raises(BrokenOperator, match="'share_for' must be more than 0 s"):
        operation(share_for=0)(look)
    option = OptionEntry(flag="--key", secret=True)
    with pytest.raises(ValidationError, match="an answer to a secret is not shared"):
        CommandEntry(command="look", share_for=2, options={"key": option})
