"""Warn the authors of operators about what loads, but is hardly meant so.

`resop check` and `resop up` print the warnings, and the API writes them to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from resop.actions.answer import answer_model
from resop.actions.catalog import SHIPPED_OPERATORS, Action, Catalog
from resop.actions.command import Command
from resop.actions.operation import Operation
from resop.actions.secret_names import is_secret_name
from resop.actions.step_warnings import step_warnings
from resop.actions.unread_files import unread_files

log = logging.getLogger(__name__)


def find_warnings(catalog: Catalog, site_folders: Iterable[Path]) -> Iterator[str]:
    """Yield a sentence for each doubtful file or action; it begins with the place, as errors do."""
    for folder in site_folders:
        yield from unread_files(folder)
    shipped = f"{SHIPPED_OPERATORS.parent}/"
    for action in catalog:
        place = _place(action, catalog)
        if not place.startswith(shipped):  # the project's own tests look at those
            for warning in action_warnings(action):
                yield f"{place}: {action.kind} {action.name}: {warning}"


def log_warnings(catalog: Catalog, site_folders: Iterable[Path]) -> None:
    """Write each warning to the log."""
    for warning in find_warnings(catalog, site_folders):
        log.warning("operators: %s", warning)


def action_warnings(action: Action) -> Iterator[str]:
    """Yield what is doubtful about one action."""
    if isinstance(action, Command):
        yield from _open_secrets_of_command(action)
    else:
        yield from _open_secrets(action)
        yield from _answer(action)
        yield from step_warnings(action.function)


def _place(action: Action, catalog: Catalog) -> str:
    if isinstance(action, Operation):
        return action.source
    return str(catalog.operator(action.operator).folder / "commands.yml")


def _open_secrets(operation: Operation[..., Any]) -> Iterator[str]:
    schema = operation.options.model_json_schema()
    for name in dict.fromkeys(_open_texts(schema, schema, ())):
        yield (
            f"the option {name!r} is ordinary text, so its value is shown and recorded: "
            "declare it as resop.Secret"
        )


def _open_texts(
    schema: Mapping[str, Any], node: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[str]:
    """Yield the path of each text, at any depth, whose name is that of a secret."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        if name in path:
            return  # a type that contains itself
        yield from _open_texts(schema, schema["$defs"][name], (*path, name))
    for key, member in node.get("properties", {}).items():
        if is_secret_name(key) and _is_open_text(schema, member):
            yield key
        yield from _open_texts(schema, member, path)
    for member in (*node.get("anyOf", ()), node.get("items"), node.get("additionalProperties")):
        if isinstance(member, dict):
            yield from _open_texts(schema, member, path)


def _is_open_text(schema: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Return True for a text, or a list of texts, that is neither a Secret nor one of a few."""
    members = [*node.get("anyOf", ()), node.get("items")]
    if any(isinstance(each, dict) and _is_open_text(schema, each) for each in members):
        return True
    return node.get("type") == "string" and not {"writeOnly", "enum", "const"} & set(node)


def _open_secrets_of_command(command: Command) -> Iterator[str]:
    for name, option in command.entry.options.items():
        if not option.enabled or option.secret or option.type not in (None, "string"):
            continue
        if is_secret_name(name) or is_secret_name(option.flag.strip("-=")):
            yield (
                f"every user of the login node can read the option {name!r} in the list of "
                "processes: set 'secret: true' with a flag that reads standard input, or "
                "'enabled: false'"
            )


def _answer(operation: Operation[..., Any]) -> Iterator[str]:
    annotations = operation.function.__annotations__
    if "return" not in annotations:
        yield "no return type is declared, so clients do not know the answer's: write '-> TYPE:'"
    elif annotations["return"] not in (Any, "Any") and answer_model(operation.function) is None:
        yield (
            "the return type cannot be described in JSON, so the answer is not checked (before "
            "Python 3.12, import TypedDict from typing_extensions)"
        )
