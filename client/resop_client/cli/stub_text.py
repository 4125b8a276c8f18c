"""The text of a .pyi: the operators of a service as classes, their actions as methods."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator

from resop_client.cli.schema import ActionSchema, Node, Property, Schema
from resop_client.cli.schema_options import ARGUMENTS

HEADER = '''\
"""The actions of {url} (version {version}). Written by `resop stubs`."""

from typing import Any, Literal

from resop_client import Record, Resop
'''
_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


def stub_text(schema: Schema, url: str) -> str:
    """Return the stub of a module with the class `Hpc`."""
    types = _Types(schema)
    operators = {name: list(found.values()) for name, found in schema.operators.items()}
    body = [_operator(types, name, found) for name, found in operators.items()]
    members = [f"    {_identifier(name)}: {_class_name(name)}" for name in operators]
    hpc = "class Hpc(Resop):\n" + ("\n".join(members) or "    ...")
    parts = [HEADER.format(url=url, version=schema.version), *types.classes.values(), *body, hpc]
    return "\n\n".join(part.rstrip("\n") + "\n" for part in parts)


def _operator(types: _Types, name: str, actions: list[ActionSchema]) -> str:
    methods = "\n".join(_method(types, each) for each in actions)
    return f"class {_class_name(name)}:\n{methods}"


def _method(types: _Types, action: ActionSchema) -> str:
    """Return an action as a method: arguments of a command, then options by keyword."""
    shown = [each for each in action.options if _is_identifier(each.name)]
    has_arguments = any(each.name == ARGUMENTS for each in action.options)
    options = [each for each in shown if each.name != ARGUMENTS]
    words = ["self", *(["*arguments: str"] if has_arguments else ["*"] if options else [])]
    for found in sorted(options, key=lambda each: not each.required):
        kind = types.of(found.schema)
        if not found.required:
            kind = kind if kind.endswith("None") else f"{kind} | None"
        words.append(f"{found.name}: {kind}{'' if found.required else ' = ...'}")
    output = "str" if action.is_command and action.output is None else types.of(action.output or {})
    summary = action.summary.replace("\\", "\\\\").replace('"', "'")
    return (
        f"    def {_identifier(action.name)}({', '.join(words)}) -> {output}:\n"
        f'        """{summary}."""\n'
    )


class _Types:
    """The types of values; objects become classes, each once."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.classes: dict[str, str] = {}

    def of(self, node: Node) -> str:
        """Return the type of a value as Python writes it."""
        if "$ref" in node:
            name = str(node["$ref"]).rpartition("/")[2]
            return self._class(_class_name(name), self._schema.resolve(node))
        if variants := [*node.get("anyOf", []), *node.get("oneOf", [])]:
            return " | ".join(dict.fromkeys(self.of(each) for each in variants))
        if values := node.get("enum"):
            return f"Literal[{', '.join(map(repr, values))}]"
        if "const" in node:
            return f"Literal[{node['const']!r}]"
        kinds = node.get("type", [])
        names = [kinds] if isinstance(kinds, str) else kinds
        return " | ".join(dict.fromkeys(self._simple(kind, node) for kind in names)) or "Any"

    def _simple(self, kind: str, node: Node) -> str:
        if kind == "null":
            return "None"
        if kind == "array":
            return f"list[{self.of(node.get('items', {}))}]"
        if kind == "object":
            values = node.get("additionalProperties")
            return f"dict[str, {self.of(values) if isinstance(values, dict) else 'Any'}]"
        return _SCALARS.get(kind, "Any")

    def _class(self, name: str, node: Node) -> str:
        members = self._schema.properties(node)
        if not members:
            return self.of(node)
        if name not in self.classes:
            self.classes[name] = ""  # it may refer to itself
            self.classes[name] = f"class {name}(Record):\n" + "\n".join(self._members(members))
        return name

    def _members(self, members: list[Property]) -> Iterator[str]:
        shown = [each for each in members if _is_identifier(each.name)]
        yield from (f"    {each.name}: {self.of(each.schema)}" for each in shown)
        if not shown:
            yield "    ..."


def _class_name(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name)) or "_"


def _is_identifier(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _identifier(name: str) -> str:
    """Return a name as the client takes it: `import_` for `import`."""
    found = re.sub(r"\W", "_", name)
    return f"{found}_" if keyword.iskeyword(found) else found
