"""A command: one entry of a commands.yml, and how a request's options become its argument list."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import SchemaError

from resop.actions.base import ActionBase
from resop.actions.options import check_options
from resop.errors import InvalidOptions
from resop.pydantic_messages import validation_message
from resop.steps.json_text import read_json
from resop.steps.quoting import MAX_ARGUMENTS, split_words
from resop.types import ActionKind, Alias, Argument, Secret, argument_like

# Strict, since YAML reads an unquoted `no` as false, which is no text for a command line.
Scalar = StrictStr | StrictInt | StrictFloat
COMMAND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
RESERVED = ("input", "stdin")
"""Options that every command has."""
_FLAG_WORDS = {"": True, "true": True, "false": False}
"""Texts that mean a flag, not a value, for an option without a type: a form sends only texts."""
NUMBERS_AS_TEXT = ConfigDict(coerce_numbers_to_str=True, validate_default=True)
"""A command line has text only: a request, or a default, may give 4 for "4"."""


def _read_flag(value: Any) -> Any:
    return _FLAG_WORDS.get(value[:6].lower(), value) if isinstance(value, str) else value


class OptionEntry(BaseModel):
    """One option of a command, as commands.yml declares it."""

    model_config = ConfigDict(extra="forbid")

    flag: str
    """The flag on the command line: `--user`, `--user=` (value joined to it) or `-u`."""
    description: str = ""
    type: Literal["string", "integer", "number", "boolean", "flag", "choice"] | None = None
    choices: list[Scalar] | None = None
    pattern: str | None = None
    """A regular expression that matches the whole value."""
    expects: str | None = None
    """The values that `pattern` matches, in words: "a number, or min-max"."""
    default: Scalar | StrictBool | list[Scalar] | None = None
    required: bool = False
    secret: bool = False
    """Sends the value by standard input; `flag` makes the command read it there."""
    repeat: bool = False
    """Takes a list and repeats the flag for every value."""
    aliases: list[str] = Field(default_factory=list)
    """Other names that requests may use for the option."""
    enabled: bool = True
    form: Any = None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.type == "choice" and not self.choices:
            raise ValueError("type 'choice' needs 'choices'")
        if self.type == "flag" and self.repeat:
            raise ValueError("a 'flag' has no value to repeat: remove 'repeat'")
        if self.secret and (self.repeat or self.type not in (None, "string")):
            raise ValueError("a secret is one string: remove 'repeat' and 'type'")
        if self.secret and (self.choices or self.pattern or self.default is not None):
            raise ValueError(
                "a secret takes no 'choices', no 'pattern' and no 'default': remove them"
            )
        if self.pattern and (self.choices or self.type not in (None, "string")):
            raise ValueError("'pattern' is for a string without 'choices': remove it")
        if self.expects and not self.pattern:
            raise ValueError("'expects' says in words what a 'pattern' allows: add one")
        if not self.flag.strip() and not (self.pattern or self.choices or self.secret):
            raise ValueError(
                "an empty 'flag' needs 'pattern' or 'choices': "
                "otherwise the command would read a value with a leading '-' as an option"
            )
        self._check_default()
        return self

    @field_validator("flag")
    @classmethod
    def _check_flag(cls, flag: str) -> str:
        return _check_quoting(flag)

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        try:
            TypeAdapter(argument_like(pattern or "", ""))
        except SchemaError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise ValueError(f"is not a regular expression of Rust's regex: {reason}") from None
        return pattern

    def _check_default(self) -> None:
        if self.default is None:
            return
        try:
            TypeAdapter(self.annotation(), config=NUMBERS_AS_TEXT).validate_python(self.default)
        except ValidationError as error:
            message = validation_message(error.errors()[0])
            raise ValueError(f"the default {self.default!r} does not fit: {message}") from None

    def annotation(self) -> Any:
        """Return the Python type that a request's value is validated against."""
        if self.secret:
            return Secret
        if self.choices:
            one: Any = Annotated[Literal[tuple(self.choices)], BeforeValidator(self._to_choice)]
        elif self.pattern:
            one = argument_like(self.pattern, self._pattern_message())
        else:
            one = {
                "integer": int,
                "number": float,
                "boolean": bool,
                "flag": bool,
                "string": Argument,
                # The plain form gives no type: text is a value, true is the flag without a value.
                None: Annotated[Argument | StrictBool, BeforeValidator(_read_flag)],
            }[self.type]
        return list[one] if self.repeat else one

    def _to_choice(self, value: Any) -> Any:
        """Return the choice that a text names: a form sends '1' where the choice is 1."""
        return next((choice for choice in self.choices or () if str(choice) == value), value)

    def _pattern_message(self) -> str:
        """Return the message for a value that `pattern` does not match."""
        if self.expects:
            return f"must be {self.expects}"
        about = f": {self.description}" if self.description else ""
        return f"does not have the form that this option takes{about}"

    def arguments(self, value: Any) -> list[str]:
        """Return the arguments that `value` adds to the command line."""
        if self.secret:
            return split_words(self.flag)
        if isinstance(value, list):
            return [argument for item in value for argument in self._argument(item)]
        return self._argument(value)

    def _argument(self, value: Any) -> list[str]:
        if isinstance(value, bool) and self.type != "boolean":
            return split_words(self.flag.removesuffix("=")) if value else []
        text = str(value).lower() if isinstance(value, bool) else str(value)
        arguments = split_words(self.flag)
        if self.flag.endswith("="):
            arguments[-1] += text
            return arguments
        return [*arguments, text]


class ArgumentsEntry(BaseModel):
    """The arguments that a command takes besides its options: the request's `input`."""

    model_config = ConfigDict(extra="forbid")

    description: str = "arguments: a list, or a string split by shell rules"
    min: int = 0
    max: int | None = None
    dash: Literal["separator", "refuse", "allow"] = "separator"
    """Puts an argument that begins with '-' behind `--`, refuses it, or passes it unchanged."""


class CommandEntry(BaseModel):
    """One entry of a commands.yml."""

    model_config = ConfigDict(extra="forbid")

    command: Annotated[str, Field(min_length=1)]
    subcommand: str = ""
    name: str | None = None
    """The name in a URL; by default the command and its subcommand."""
    description: str = ""
    options: dict[str, OptionEntry] = Field(default_factory=dict)
    arguments: ArgumentsEntry | bool = True
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The time limit in seconds; the service's TASK_TIMEOUT by default."""
    output: Literal["text", "json"] = "text"
    share_for: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """For a read-only command: how many seconds a user's identical requests share one answer."""
    runs_code: bool = False
    """True if the command runs a program of the caller's choice, or places files that are run."""
    examples: list[dict[str, Any]] = Field(default_factory=list)
    """Options as a request would send them, shown with the description."""
    enabled: bool = True
    form: Any = None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        for reserved in RESERVED:
            if reserved in self.options:
                raise ValueError(
                    f"option '{reserved}': every command has an option of this name: rename it"
                )
        self._check_aliases()
        if sum(option.secret for option in self.options.values()) > 1:
            raise ValueError("only one option can be secret: standard input carries one value")
        if self.share_for and any(option.secret for option in self.options.values()):
            raise ValueError("'share_for': an answer to a secret is not shared: remove it")
        if not COMMAND_NAME.fullmatch(self.url_name):
            raise ValueError(f"{self.url_name!r} is not a name for a URL: give the entry a 'name'")
        return self

    def _check_aliases(self) -> None:
        names = [*RESERVED, *self.options]
        for name, option in self.options.items():
            for alias in option.aliases:
                if alias in names:
                    raise ValueError(f"option '{name}': the alias '{alias}' is taken: remove it")
                names.append(alias)

    @field_validator("subcommand")
    @classmethod
    def _check_subcommand(cls, subcommand: str) -> str:
        return _check_quoting(subcommand)

    @property
    def url_name(self) -> str:
        """The name in a URL."""
        return self.name or "_".join([self.command, *self.subcommand.split()])


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command line as an argument list, and the text for its standard input."""

    argv: tuple[str, ...]
    stdin: str | Secret | None = None


class Command(ActionBase):
    """A declared command: described for the API, and turned into an argument list.

    Raises InvalidOptions for an example that the command itself refuses.
    """

    kind = ActionKind.COMMAND

    def __init__(self, operator: str, entry: CommandEntry) -> None:
        self.operator = operator
        self.entry = entry
        self.name = entry.url_name
        self.description = entry.description
        self.timeout = entry.timeout
        self.share_for = entry.share_for
        self.runs_code = entry.runs_code
        self._flags = {name: flag for name, flag in entry.options.items() if flag.enabled}
        self.options = self._options_model()
        self.examples = entry.examples
        for example in self.examples:
            self.invocation(check_options(self.options, example))

    def invocation(self, options: BaseModel) -> Invocation:
        """Turn validated options into the argument list and the standard input.

        Raises InvalidOptions for arguments that the entry does not allow.
        """
        values: Mapping[str, Any] = {
            name: getattr(options, _field(number)) for number, name in enumerate(self._flags)
        }
        argv = [self.entry.command, *shlex.split(self.entry.subcommand)]
        stdin: str | Secret | None = getattr(options, "stdin", None)
        for name, value in values.items():
            if value is not None:
                _check_number(name, value)
                argv += self._flags[name].arguments(value)
            if isinstance(value, Secret):
                stdin = value
        return Invocation((*argv, *self._input_arguments(getattr(options, "input", None))), stdin)

    def _input_arguments(self, value: str | list[str] | None) -> list[str]:
        rules = self.entry.arguments
        if isinstance(rules, bool):
            rules = ArgumentsEntry()
        arguments = _split(value)
        _check_number("input", arguments)
        faults = []
        if len(arguments) < rules.min:
            faults.append(f"needs {rules.min} or more arguments, but has {len(arguments)}")
        if rules.max is not None and len(arguments) > rules.max:
            faults.append(f"takes at most {_count(rules.max)}, but has {len(arguments)}")
        dashed = [argument for argument in arguments if argument.startswith("-")]
        if dashed and rules.dash == "refuse":
            faults.append(
                f"must not contain {dashed[0]!r}: it begins with '-', "
                "so the command would read it as an option"
            )
        if faults:
            raise InvalidOptions([{"field": "input", "message": fault} for fault in faults])
        if dashed and rules.dash == "separator":
            return ["--", *arguments]
        return arguments

    def _options_model(self) -> type[BaseModel]:
        return create_model(
            f"{self.operator}_cmd_{self.name}_options",
            __config__=ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
            | NUMBERS_AS_TEXT,
            **self._declared_fields(),
            **self._common_fields(),
        )

    def _declared_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for number, (name, option) in enumerate(self._flags.items()):
            annotation = option.annotation()
            values = annotation if option.required else annotation | None
            fields[_field(number)] = (
                Annotated[(values, *map(Alias, option.aliases))] if option.aliases else values,
                Field(
                    ... if option.required else option.default,
                    alias=name,
                    description=option.description or None,
                ),
            )
        return fields

    def _common_fields(self) -> dict[str, Any]:
        """Return the fields `input` and `stdin`, where the entry allows them."""
        fields: dict[str, Any] = {}
        rules = self.entry.arguments
        if rules is not False:
            rules = rules if isinstance(rules, ArgumentsEntry) else ArgumentsEntry()
            fields["input"] = (
                Argument | list[Argument] if rules.min else Argument | list[Argument] | None,
                Field(... if rules.min else None, description=rules.description),
            )
        if not any(option.secret for option in self._flags.values()):
            fields["stdin"] = (
                str | None,
                Field(None, description="text for the command's standard input"),
            )
        return fields

    def answer(self, stdout: str) -> Any:
        """Return the `output` of an answer: text, or parsed JSON if the entry asks for it.

        Raises ValueError for output that is not JSON.
        """
        return read_json(stdout) if self.entry.output == "json" else stdout


def _check_quoting(text: str) -> str:
    try:
        shlex.split(text)
    except ValueError as error:
        raise ValueError(_quoting_fault(error)) from None
    return text


def _quoting_fault(error: ValueError) -> str:
    # shlex knows two: "No closing quotation" and "No escaped character".
    return "ends with a backslash" if "escaped" in str(error) else "has an unclosed quotation mark"


def _check_number(name: str, values: Any) -> None:
    """Raise InvalidOptions for more values than any command line has room for."""
    if isinstance(values, list) and len(values) > MAX_ARGUMENTS:
        message = f"has {len(values)} values; a command line has room for {MAX_ARGUMENTS}"
        raise InvalidOptions.of(name, message)


def _count(arguments: int) -> str:
    return "1 argument" if arguments == 1 else f"{arguments} arguments"


def _field(number: int) -> str:
    # Option names are free text ('no-header', 'json'); fields need names that clash with nothing.
    return f"option_{number}"


def _split(value: str | list[str] | None) -> list[str]:
    if value is None or isinstance(value, list):
        return value or []
    try:
        return split_words(value)
    except ValueError as error:
        raise InvalidOptions.of("input", f"{_quoting_fault(error)}; send a list instead") from None
