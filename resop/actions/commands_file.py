"""Read a commands.yml, and report every fault in it with its line and how to repair it.

Texts are taken as they are written (`flag: -1`, `no:`), and a key without a value counts as not
given.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError
from yaml.constructor import SafeConstructor

from resop.actions.command import Command, CommandEntry
from resop.actions.options import faults_by_path
from resop.config.yaml_loader import InvalidYaml, doubled_keys, line_of, syntax_fault
from resop.config.yaml_repair import read_repaired
from resop.errors import BrokenOperator, InvalidOptions
from resop.pydantic_messages import validation_message

_ENTRY_TEXTS = frozenset(["command", "subcommand", "name", "description"])
_OPTION_TEXTS = frozenset(["flag", "description", "pattern", "expects"])
_ADVICE = {
    "flag": "is required: write the program's own option, such as --all, or remove this one",
    "command": "is required: the program to run",
}
_NULL = "tag:yaml.org,2002:null"


class DeclaredCommand(NamedTuple):
    """An enabled command and the line of its entry."""

    line: int
    command: Command


def read_commands(operator: str, file: Path) -> list[DeclaredCommand]:
    """Return the enabled commands of a file. Raises BrokenOperator, which lists every fault."""
    commands, faults = _read(operator, file)
    if faults:
        found = dict.fromkeys(sorted((fault.line, fault.message) for fault in faults))
        raise BrokenOperator.of(f"{file}:{line}: {message}" for line, message in found)
    return commands


def _read(operator: str, file: Path) -> tuple[list[DeclaredCommand], list[InvalidYaml]]:
    try:
        root, faults = read_repaired(file.read_text(encoding="utf-8"))
        faults += doubled_keys(root)
        if root is not None:
            SafeConstructor().construct_document(root)  # also merges '<<' into the nodes
    except (yaml.YAMLError, ValueError, RecursionError) as invalid:
        return [], [syntax_fault(invalid)]
    if root is None or root.tag == _NULL:
        return [], faults
    if not isinstance(root, yaml.SequenceNode):
        message = "the file must be a list of commands: '- command: …'"
        return [], [*faults, InvalidYaml(1, message)]
    commands = []
    for node in root.value:
        command, found = _read_entry(operator, node)
        faults += found
        if command is not None and command.entry.enabled:
            commands.append(DeclaredCommand(node.start_mark.line + 1, command))
    return commands, faults


def _read_entry(operator: str, node: yaml.Node) -> tuple[Command | None, list[InvalidYaml]]:
    try:
        return Command(operator, CommandEntry.model_validate(_entry(node))), []
    except ValidationError as fault:
        return None, list(_entry_faults(node, fault))
    except InvalidOptions as fault:
        return None, [InvalidYaml(line_of(node, ("examples",)), f"examples: {fault.message}")]


def _entry_faults(node: yaml.Node, fault: ValidationError) -> Iterator[InvalidYaml]:
    if not fault.errors()[0]["loc"]:
        message = validation_message(fault.errors()[0])
        yield InvalidYaml(node.start_mark.line + 1, f"entry: {message}")
        return
    for path, message in faults_by_path(fault, CommandEntry, noun="key").items():
        if message == "is required":
            message = _ADVICE.get(path[-1], message)
        elif message.startswith("must be an object") and path[:-1] == ("options",):
            message = "must be written with its flag: '{flag: --all}'"
        yield InvalidYaml(line_of(node, path), f"{'.'.join(path)}: {message}")


def _entry(node: yaml.Node) -> Any:
    """Return an entry as CommandEntry validates it."""
    if not isinstance(node, yaml.MappingNode):
        return _value(node)
    entry = _members(node, _ENTRY_TEXTS)
    for key, value in node.value:
        if not isinstance(value, yaml.MappingNode):
            continue
        if key.value == "arguments":
            entry["arguments"] = _members(value, frozenset(["description"]))
        if key.value == "options":
            entry["options"] = {each.value: _option(option) for each, option in value.value}
    return entry


def _option(node: yaml.Node) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return {} if node.tag == _NULL else _value(node)
    option = _members(node, _OPTION_TEXTS)
    nodes = {key.value: value for key, value in node.value}
    if isinstance(choices := nodes.get("choices"), yaml.SequenceNode):
        option["choices"] = [_choice(each) for each in choices.value]
        if isinstance(default := nodes.get("default"), yaml.ScalarNode) and "default" in option:
            option["default"] = _choice(default)
    return option


def _choice(node: yaml.Node) -> Any:
    """Return a number, or a text as it is written: `no` is false in YAML 1.1."""
    is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    return node.value if isinstance(node, yaml.ScalarNode) and not is_number else _value(node)


def _members(node: yaml.MappingNode, texts: frozenset[str]) -> dict[str, Any]:
    """Return the keys that have a value; those in `texts` as they are written."""
    return {
        key.value: value.value
        if key.value in texts and isinstance(value, yaml.ScalarNode)
        else _value(value)
        for key, value in node.value
        if value.tag != _NULL
    }


def _value(node: yaml.Node) -> Any:
    return SafeConstructor().construct_document(node)
