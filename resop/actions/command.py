"""A command: one entry of a commands.yml, from options to the argument list that is run."""

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

from resop.actions.options import check_options
from resop.errors import InvalidOptions
from resop.steps.json_text import read_json
from resop.types import ActionKind, Argument, Secret, argument_like

# Strict, since YAML reads an unquoted `no` as false, which is no word of a command line.
Scalar = StrictStr | StrictInt | StrictFloat
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
RESERVED = ("input", "stdin")
"""Names of a request that every command takes."""
LIKE_A_REQUEST = ConfigDict(coerce_numbers_to_str=True, validate_default=True)
"""On a command line there is text alone: a request, or a default, may say 4 and mean "4"."""


class OptionEntry(BaseModel):
    """One option of a command, as commands.yml writes it."""

    model_config = ConfigDict(extra="forbid")

    flag: str
    """What stands on the command line: `--user`, `--user=` (value joined to it) or `-u`."""
    description: str = ""
    type: Literal["string", "integer", "number", "boolean", "flag", "choice"] | None = None
    choices: list[Scalar] | None = None
    pattern: str | None = None
    """A regular expression that the whole value matches."""
    expects: str | None = None
    """What `pattern` describes, in words: "a number, or min-max". Refusals say "must be …"."""
    default: Scalar | StrictBool | list[Scalar] | None = None
    required: bool = False
    secret: bool = False
    """The value is sent by standard input; `flag` is what tells the command to read it there."""
    repeat: bool = False
    """Takes a list; the flag is repeated for every value."""
    enabled: bool = True
    form: Any = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.type == "choice" and not self.choices:
            raise ValueError("type 'choice' needs 'choices'")
        if self.type == "flag" and self.repeat:
            raise ValueError("a 'flag' has no value to repeat")
        if self.secret and (self.repeat or self.type not in (None, "string")):
            raise ValueError("a secret is one string")
        if self.secret and (self.choices or self.pattern or self.default is not None):
            raise ValueError("a secret takes no 'choices', no 'pattern' and no 'default'")
        if self.pattern and (self.choices or self.type not in (None, "string")):
            raise ValueError("'pattern' is for a string without 'choices'")
        if self.expects and not self.pattern:
            raise ValueError("'expects' says in words what a 'pattern' allows: there is none")
        if not self.flag.strip() and not (self.pattern or self.choices or self.secret):
            raise ValueError(
                "an empty 'flag' needs 'pattern' or 'choices': "
                "the command would take a value with a leading '-' as an option"
            )
        self._check_default()
        return self

    @field_validator("flag")
    @classmethod
    def _can_be_split(cls, flag: str) -> str:
        return _splittable(flag)

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            TypeAdapter(argument_like(pattern or "", ""))
        except SchemaError as fault:
            reason = str(fault).strip().splitlines()[-1].strip()
            raise ValueError(f"not a regular expression of Rust's regex: {reason}") from None
        return pattern

    def _as_choice(self, value: Any) -> Any:
        """The choice that a text stands for: a form sends '1' where the choice is 1."""
        alike = (choice for choice in self.choices or () if str(choice) == value)
        return next(alike, value)

    def _check_default(self) -> None:
        if self.default is None:
            return
        try:
            TypeAdapter(self.annotation(), config=LIKE_A_REQUEST).validate_python(self.default)
        except ValidationError as fault:
            message = fault.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"the default {self.default!r} does not fit: {message}") from None

    def annotation(self) -> Any:
        """The Python type that a request's value is checked against."""
        if self.secret:
            return Secret
        if self.choices:
            one: Any = Annotated[Literal[tuple(self.choices)], BeforeValidator(self._as_choice)]
        elif self.pattern:
            one = argument_like(self.pattern, self._refusal())
        else:
            one = {
                "integer": int,
                "number": float,
                "boolean": bool,
                "flag": bool,
                "string": Argument,
                # The plain form gives no type: text is a value, true stands for the flag alone.
                None: Argument | StrictBool,
            }[self.type]
        return list[one] if self.repeat else one

    def _refusal(self) -> str:
        """Return the message for a value that `pattern` does not match."""
        if self.expects:
            return f"must be {self.expects}"
        about = f": {self.description}" if self.description else ""
        return f"does not have the form that this option takes{about}"

    def words(self, value: Any) -> list[str]:
        """The words that this option puts on the command line for `value`."""
        if self.secret:
            return shlex.split(self.flag)
        if isinstance(value, list):
            return [word for item in value for word in self.words(item)]
        if isinstance(value, bool) and self.type != "boolean":
            return shlex.split(self.flag.removesuffix("=")) if value else []
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words = shlex.split(self.flag)
        if self.flag.endswith("="):
            words[-1] += text
            return words
        return [*words, text]


class ArgumentsEntry(BaseModel):
    """What a command takes besides its options: the request's `input`."""

    model_config = ConfigDict(extra="forbid")

    description: str = "arguments: a list, or a string split by shell rules"
    min: int = 0
    max: int | None = None
    dash: Literal["separator", "refuse", "allow"] = "separator"
    """An argument that begins with '-': stands behind `--`, is refused, or is allowed."""


class CommandEntry(BaseModel):
    """One entry of a commands.yml."""

    model_config = ConfigDict(extra="forbid")

    command: Annotated[str, Field(min_length=1)]
    subcommand: str = ""
    name: str | None = None
    """How it is called in a URL; the command (and subcommand) itself when not given."""
    description: str = ""
    options: dict[str, OptionEntry] = Field(default_factory=dict)
    arguments: ArgumentsEntry | bool = True
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Time limit in seconds; the service's own (TASK_TIMEOUT) when not given."""
    output: Literal["text", "json"] = "text"
    share_for: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """For one that only asks: so many seconds a user's identical requests share its answer."""
    examples: list[dict[str, Any]] = Field(default_factory=list)
    """Options as a request would give them, shown with the description."""
    enabled: bool = True
    form: Any = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for reserved in RESERVED:
            if reserved in self.options:
                raise ValueError(f"option '{reserved}': the name is taken by every command")
        if sum(option.secret for option in self.options.values()) > 1:
            raise ValueError("only one option can be secret: standard input carries one value")
        if self.share_for and any(option.secret for option in self.options.values()):
            raise ValueError("'share_for': an answer to a secret is not shared")
        if not NAME.fullmatch(self.url_name):
            raise ValueError(f"{self.url_name!r} cannot stand in a URL: give the entry a 'name'")
        return self

    @field_validator("subcommand")
    @classmethod
    def _can_be_split(cls, subcommand: str) -> str:
        return _splittable(subcommand)

    @property
    def url_name(self) -> str:
        """How it is called in a URL."""
        return self.name or "_".join([self.command, *self.subcommand.split()])


@dataclass(frozen=True, slots=True)
class Invocation:
    """What is to be run: the argument list, and the text for standard input."""

    argv: tuple[str, ...]
    stdin: str | Secret | None = None


class Command:
    """A command that can be described, called with options, and run.

    Raises InvalidOptions for an example that it would refuse itself.
    """

    kind = ActionKind.COMMAND

    def __init__(self, operator: str, entry: CommandEntry) -> None:
        self.operator = operator
        self.entry = entry
        self.name = entry.url_name
        self.description = entry.description
        self.timeout = entry.timeout
        self.share_for = entry.share_for
        self._flags = {name: flag for name, flag in entry.options.items() if flag.enabled}
        self.options = self._options_model()
        self.examples = entry.examples
        for example in self.examples:
            self.invocation(check_options(self.options, example))

    @property
    def title(self) -> str:
        """`operator:name`, as answers and logs show it."""
        return f"{self.operator}:{self.name}"

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
                argv += self._flags[name].words(value)
            if isinstance(value, Secret):
                stdin = value
        return Invocation((*argv, *self._arguments(getattr(options, "input", None))), stdin)

    def _arguments(self, given: str | list[str] | None) -> list[str]:
        rules = self.entry.arguments
        if isinstance(rules, bool):
            rules = ArgumentsEntry()
        words = _split(given)
        faults = []
        if len(words) < rules.min:
            faults.append(f"{rules.min} or more arguments are needed, {len(words)} given")
        if rules.max is not None and len(words) > rules.max:
            faults.append(f"at most {rules.max} arguments are taken, {len(words)} given")
        dashed = [word for word in words if word.startswith("-")]
        if dashed and rules.dash == "refuse":
            faults.append(f"{dashed[0]!r} begins with '-', which this command would take as option")
        if faults:
            raise InvalidOptions([{"field": "input", "message": fault} for fault in faults])
        if dashed and rules.dash == "separator":
            return ["--", *words]
        return words

    def _options_model(self) -> type[BaseModel]:
        fields: dict[str, Any] = {}
        for number, (name, option) in enumerate(self._flags.items()):
            default = ... if option.required else option.default
            kind = option.annotation()
            fields[_field(number)] = (
                kind if option.required else kind | None,
                Field(default, alias=name, description=option.description or None),
            )
        rules = self.entry.arguments
        if rules is not False:
            about = rules if isinstance(rules, ArgumentsEntry) else ArgumentsEntry()
            needed = ... if about.min else None
            fields["input"] = (
                Argument | list[Argument] if about.min else Argument | list[Argument] | None,
                Field(needed, description=about.description),
            )
        if not any(option.secret for option in self._flags.values()):
            fields["stdin"] = (
                str | None,
                Field(None, description="text for the command's standard input"),
            )
        return create_model(
            f"{self.operator}_cmd_{self.name}_options",
            __config__=ConfigDict(extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
            | LIKE_A_REQUEST,
            **fields,
        )

    def answer(self, stdout: str) -> Any:
        """The `output` of an answer: the text, or the parsed JSON where the entry says so."""
        return read_json(stdout) if self.entry.output == "json" else stdout


def _splittable(words: str) -> str:
    shlex.split(words)  # its ValueError says what is wrong ('No closing quotation')
    return words


def _field(number: int) -> str:
    # Option names are free text ('no-header', 'json'); fields need names that clash with nothing.
    return f"option_{number}"


def _split(given: str | list[str] | None) -> list[str]:
    if given is None or isinstance(given, list):
        return given or []
    try:
        return shlex.split(given)
    except ValueError as fault:
        raise InvalidOptions(
            [{"field": "input", "message": f"{fault}; a list needs no quoting"}]
        ) from None
