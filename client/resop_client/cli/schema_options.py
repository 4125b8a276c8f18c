"""Options of the command line from the schema of an action, and their values as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from resop_client.cli.schema import Property

ARGUMENTS = "input"
"""The option of a command that has its arguments."""
STDIN = "stdin"
MAX_SHOWN_DEFAULT = 40


class Json(click.ParamType[Any]):
    """A value that is JSON."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value; a file's after `@`."""
        try:
            return json.loads(read_value(value)) if isinstance(value, str) else value
        except ValueError as fault:
            self.fail(f"{value!r} is not JSON: {fault}", param, ctx)


class TextOrJson(click.ParamType[Any]):
    """Text that is sent as a number, or the like, if it is written as one."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        text = read_value(value) if isinstance(value, str) else value
        try:
            return json.loads(text)
        except (ValueError, TypeError):
            return text


class Text(click.ParamType[Any]):
    """Text, or the content of a file: `@FILE`, or `@-` for standard input."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text."""
        return read_value(str(value))


def read_value(value: str) -> str:
    """Return a value, or what is in the file that it names: `@FILE`, `@-`; `@@x` is `@x`."""
    if not value.startswith("@") or value == "@":
        return value
    if value.startswith("@@"):
        return value[1:]
    if value == "@-":
        return sys.stdin.read()
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except OSError as fault:
        raise click.BadParameter(f"{value[1:]}: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{value[1:]}: is not a text file") from None


class SchemaOption(click.Option):
    """An option of the command line for a property of a schema."""

    def __init__(self, found: Property, number: int, names: Sequence[str] = ()) -> None:
        """`names` are its long names, if others than that of the property."""
        self.property = found
        flags = list(names) or [option_name(found.name)]
        settings: dict[str, Any] = {"help": _help(found), "default": None}
        if found.kinds == {"boolean"}:
            flags = [f"{name}/--no-{name.removeprefix('--')}" for name in flags]
        else:
            settings["type"] = _type(found)
            settings["multiple"] = found.items is not None
            settings["metavar"] = None if found.choices else _metavar(found)
        super().__init__([f"option_{number}", *flags], **settings)


def option_name(name: str) -> str:
    """Return the long option for a property: `--job-name` for `job_name`."""
    return f"--{name.replace('_', '-')}"


def _type(found: Property) -> click.ParamType[Any]:
    item = found.items or found
    if item.choices:
        return click.Choice(item.choices, case_sensitive=False)
    if "string" in item.kinds:
        return TextOrJson() if "boolean" in item.kinds or "number" in item.kinds else Text()
    if item.kinds == {"integer"}:
        return click.INT
    if item.kinds and item.kinds <= {"integer", "number"}:
        return click.FLOAT
    return Json()


def _metavar(found: Property) -> str | None:
    kind = _type(found)
    return "JSON" if isinstance(kind, Json) else None


def _help(found: Property) -> str:
    text = found.description.rstrip(".")
    notes = []
    if found.required:
        notes.append("required")
    if found.items is not None:
        notes.append("repeat it for several")
    default = found.default
    if isinstance(default, str | int | float) and not isinstance(default, bool):
        shown = str(default)
        if shown and len(shown) <= MAX_SHOWN_DEFAULT:
            notes.append(f"default: {shown}")
    if default is True:
        notes.append("default: yes")
    return f"{text} [{'; '.join(notes)}]" if notes else text


def options_of(
    properties: Sequence[Property], names: Mapping[str, Sequence[str]] | None = None
) -> list[SchemaOption]:
    """Return the options of the command line; `names` has other long names for some."""
    chosen = names or {}
    return [
        SchemaOption(found, number, chosen.get(found.name, ()))
        for number, found in enumerate(properties)
        if found.name != ARGUMENTS
    ]


def given_options(options: Sequence[SchemaOption], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, by the names of the API."""
    given = {each.property.name: values.get(each.name or "") for each in options}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if value is not None and value != ()
    }


def fill_required(
    properties: Sequence[Property], options: dict[str, Any], words: Sequence[str]
) -> None:
    """Give the arguments of the command line to required options, in order.

    A command of the cluster takes them as its own arguments. Raises UsageError if there are more.
    """
    if not words:
        return
    if any(each.name == ARGUMENTS for each in properties):
        options[ARGUMENTS] = [*words]
        return
    missing = [each for each in properties if each.required and each.name not in options]
    rest = list(words)
    for found in missing:
        if not rest:
            return
        kind = _type(found)
        taken, rest = (rest, []) if found.items else (rest[:1], rest[1:])
        values = [kind.convert(word, None, None) for word in taken]
        options[found.name] = values if found.items else values[0]
    if rest:
        raise click.UsageError(f"unexpected argument {rest[0]!r}: give options by their names")
