"""The actions of a service as its OpenAPI document describes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

Node = Mapping[str, Any]
Found = TypeVar("Found")
_ACTION_PATH = re.compile(r"/([^/{}]+)/(opn|cmd)/([^/{}]+)")
_JSON = "application/json"


@dataclass(frozen=True)
class Property:
    """An option of an action, or a member of a result: its name and its schema."""

    name: str
    schema: Node
    required: bool
    kinds: frozenset[str]
    """The types of JSON that it can have, without null."""
    choices: tuple[str, ...]
    """The only values, if it is text that can have only these."""
    items: Property | None = None
    """The elements, if it is a list."""

    @property
    def description(self) -> str:
        """The help text."""
        return str(self.schema.get("description", ""))

    @property
    def is_secret(self) -> bool:
        """True if the value is not shown."""
        return any(each.get("writeOnly") for each in (self.schema, *_variants(self.schema)))

    @property
    def default(self) -> Any:
        """The default; None if there is none."""
        return self.schema.get("default")


class ActionSchema:
    """One action: its address, texts, options and result."""

    def __init__(self, document: Schema, path: str, operator: str, name: str) -> None:
        """`path` is where the action is run."""
        self.path = path
        self.operator = operator
        self.name = name
        self._document = document
        self._post: Node = document.paths[path]["post"]

    @property
    def is_command(self) -> bool:
        """True for a command of the cluster, False for an operation."""
        return "/cmd/" in self.path

    @property
    def summary(self) -> str:
        """The description in one line."""
        return str(self._post.get("summary", ""))

    @property
    def description(self) -> str:
        """The whole description."""
        return str(self._post.get("description") or self.summary)

    @property
    def answer_is_shared(self) -> bool:
        """True for a question whose answer is shared for some seconds: it changes nothing."""
        named = (each.get("$ref", "") for each in self._post.get("parameters", []))
        return any(name.rpartition("/")[2] == "fresh" for name in named)

    @property
    def examples(self) -> list[dict[str, Any]]:
        """Options to begin with."""
        return [each["value"] for each in self._body.get("examples", {}).values()]

    @cached_property
    def options(self) -> list[Property]:
        """The options, in the order of their declaration."""
        return self._document.properties(self._body.get("schema", {}))

    @property
    def output(self) -> Node | None:
        """The schema of the output; None if it is not described, as for most commands."""
        answer = self._document.resolve(self._post["responses"]["200"])
        body = self._document.resolve(answer.get("content", {}).get(_JSON, {}).get("schema", {}))
        output: Node | None = body.get("properties", {}).get("output")
        return output

    @property
    def _body(self) -> Node:
        body: Node = self._post.get("requestBody", {}).get("content", {}).get(_JSON, {})
        return body


class Schema:
    """The operators of a service and their actions."""

    def __init__(self, document: Node) -> None:
        """Read an OpenAPI document."""
        self._document = document
        self.paths: Node = document.get("paths", {})

    @property
    def version(self) -> str:
        """The version of the service."""
        return str(self._document.get("info", {}).get("version", ""))

    @cached_property
    def operators(self) -> dict[str, dict[str, ActionSchema]]:
        """The actions by operator and name; an operation comes before a command of that name."""
        found: dict[str, dict[str, ActionSchema]] = {}
        for path in sorted(self.paths, key=lambda path: "/cmd/" in path):
            if (match := _ACTION_PATH.fullmatch(path)) and "post" in self.paths[path]:
                operator, _, name = match.groups()
                actions = found.setdefault(operator, {})
                actions.setdefault(name, ActionSchema(self, path, operator, name))
        return {name: dict(sorted(found[name].items())) for name in sorted(found)}

    def operator(self, name: str) -> dict[str, ActionSchema] | None:
        """Return the actions of an operator; its name ignores case, `-` and `_`."""
        return _look_up(self.operators, name)

    def action(self, operator: str, name: str) -> ActionSchema | None:
        """Return an action; the names ignore case, `-` and `_`."""
        return _look_up(self.operator(operator) or {}, name)

    def describe_operator(self, name: str) -> str:
        """Return the description of an operator."""
        tags = self._document.get("tags", [])
        return next((each.get("description", "") for each in tags if each["name"] == name), "")

    def resolve(self, node: Node) -> Node:
        """Return what a reference refers to; anything else as it is."""
        while "$ref" in node:
            found: Any = self._document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part.replace("~1", "/").replace("~0", "~")]
            node = found
        return node

    def properties(self, node: Node) -> list[Property]:
        """Return the members of an object's schema."""
        found = self.resolve(node)
        required = found.get("required", [])
        return [
            self.property(name, each, name in required)
            for name, each in found.get("properties", {}).items()
        ]

    def property(self, name: str, node: Node, required: bool = False) -> Property:
        """Return what a schema says of a value."""
        shown = {**self.resolve(node), **node}
        variants = [self.resolve(each) for each in self._flat(shown)]
        kinds = frozenset(kind for each in variants for kind in _kinds(each)) - {"null"}
        known = [_values(each) for each in variants if _kinds(each)]
        choices: tuple[str, ...] = ()
        if kinds == {"string"} and all(each is not None for each in known):
            choices = tuple(value for each in known for value in each or [] if value is not None)
        lists = [each for each in variants if "array" in _kinds(each)]
        items = self.property(name, lists[0].get("items", {})) if lists else None
        return Property(name, shown, required, kinds, choices, items)

    def _flat(self, node: Node) -> Iterator[Node]:
        variants = list(_variants(node))
        if not variants:
            yield node
        for each in variants:
            yield from self._flat(self.resolve(each))


def _variants(node: Node) -> list[Node]:
    """Return the alternatives of a schema, without null."""
    found = [*node.get("anyOf", []), *node.get("oneOf", []), *node.get("allOf", [])]
    return [each for each in found if each.get("type") != "null"]


def _kinds(node: Node) -> set[str]:
    kind = node.get("type")
    kinds = {kind} if isinstance(kind, str) else set(kind or [])
    if not kinds and "enum" in node:
        return {"string"} if all(isinstance(each, str) for each in node["enum"]) else set()
    if not kinds and isinstance(node.get("const"), str):
        return {"string"}
    return kinds - {"null"}


def _values(node: Node) -> list[Any] | None:
    """Return the only values of a schema; None if there may be others."""
    values: list[Any] | None = node.get("enum", [node["const"]] if "const" in node else None)
    return values


def _look_up(named: Mapping[str, Found], name: str) -> Found | None:
    if name in named:
        return named[name]
    keys = {key_of(each): each for each in named}
    found = keys.get(key_of(name))
    return None if found is None else named[found]


def key_of(name: str) -> str:
    """Return the same key for names that differ in case, `-` and `_` only."""
    return name.replace("-", "").replace("_", "").lower()
