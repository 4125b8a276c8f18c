"""The pages at /docs: the OpenAPI document for people, by operator, without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from api.http.openapi_schemas import SCHEMA_REFERENCE, references

_COMPONENT = SCHEMA_REFERENCE.format(model="")
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "pattern {}",
}
SUCCESS_STATUSES = "23"
"""The first digits of the statuses of answers that are no failures."""


class TypePart(NamedTuple):
    """A part of the name of a type; with the type on the same page that it links to."""

    text: str
    link: str | None = None


class Field(NamedTuple):
    """One parameter, option or member of an object, as a row of a table."""

    name: str
    place: str
    type: list[TypePart]
    required: bool
    description: str
    limits: list[str]


class ResponseEntry(NamedTuple):
    """One response of an operation."""

    status: str
    description: str
    type: list[TypePart]


class Endpoint(NamedTuple):
    """One operation of the document."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    needs_token: bool
    parameters: list[Field]
    has_preferences: bool
    """True if it takes the preferences that the start page describes."""
    body: list[Field]
    media_types: list[str]
    examples: list[Any]
    answers: list[ResponseEntry]


class Section(NamedTuple):
    """The endpoints of one tag: of an operator, or of a part of the API."""

    name: str
    description: str
    endpoints: list[Endpoint]
    types: dict[str, list[Field]]
    """The types that the endpoints refer to, by name."""


class ApiReference:
    """The document, as the pages show it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Read a document; each section is read when it is first shown."""
        self._document = document
        self._components: Mapping[str, Any] = document["components"]
        self._sections: dict[str, Section] = {}

    @property
    def title(self) -> str:
        """The title and the version of the API."""
        return f"{self._document['info']['title']} {self._document['info']['version']}"

    @property
    def description(self) -> str:
        """The description of the API."""
        return str(self._document["info"].get("description", ""))

    def sections(self) -> list[tuple[str, str, int]]:
        """Return the name, the description and the number of endpoints of each section."""
        counts: dict[str, int] = {}
        for _, _, operation in self._operations():
            for tag in operation["tags"]:
                counts[tag] = counts.get(tag, 0) + 1
        return [
            (tag["name"], tag.get("description", ""), counts[tag["name"]])
            for tag in self._document["tags"]
        ]

    def preferences(self) -> list[Field]:
        """Return the parameters that many endpoints have in common."""
        return [self._parameter(each) for each in self._components.get("parameters", {}).values()]

    def section(self, name: str) -> Section | None:
        """Return the section of that name, or None."""
        if name not in self._sections:
            tags = {tag["name"]: tag.get("description", "") for tag in self._document["tags"]}
            if name not in tags:
                return None
            self._sections[name] = self._read_section(name, tags[name])
        return self._sections[name]

    def _operations(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yield each operation but the descriptions of actions, which all have the same."""
        for path, item in self._document["paths"].items():
            for method, operation in item.items():
                if not operation["operationId"].startswith("describe_") and operation.get("tags"):
                    yield path, method, operation

    def _read_section(self, name: str, description: str) -> Section:
        found = [each for each in self._operations() if name in each[2]["tags"]]
        endpoints = [self._endpoint(*each) for each in found]
        types = {
            each: self._fields(self._components["schemas"][each])
            for each in self._types(operation for _, _, operation in found)
        }
        return Section(name, description, endpoints, types)

    def _types(self, operations: Iterator[Mapping[str, Any]]) -> list[str]:
        """Return the types that operations refer to outside of their failures."""
        open_places: list[str] = []
        for operation in operations:
            answers = operation["responses"].items()
            shown = [each for status, each in answers if status[0] in SUCCESS_STATUSES]
            open_places += references([self._body(operation)[0], shown])
        seen: set[str] = set()
        while open_places:
            place = open_places.pop()
            if place not in seen:
                seen.add(place)
                open_places += references(self._resolved({"$ref": place}))
        return sorted(each.removeprefix(_COMPONENT) for each in seen if _COMPONENT in each)

    def _endpoint(self, path: str, method: str, operation: Mapping[str, Any]) -> Endpoint:
        parameters = operation.get("parameters", [])
        body, examples = self._body(operation)
        return Endpoint(
            id=operation["operationId"],
            method=method.upper(),
            path=path,
            summary=operation["summary"],
            description=operation.get("description", "").partition("\n")[2].strip(),
            needs_token=bool(operation.get("security")),
            parameters=[self._parameter(each) for each in parameters if "$ref" not in each],
            has_preferences=any("$ref" in each for each in parameters),
            body=self._fields(body),
            media_types=list(operation.get("requestBody", {}).get("content", {})),
            examples=examples,
            answers=[self._answer(*each) for each in operation["responses"].items()],
        )

    def _body(self, operation: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Any]]:
        """Return the schema of an operation's first kind of body, and its examples."""
        for content in operation.get("requestBody", {}).get("content", {}).values():
            examples = [each["value"] for each in content.get("examples", {}).values()]
            return self._resolved(content.get("schema", {})), examples
        return {}, []

    def _parameter(self, parameter: Mapping[str, Any]) -> Field:
        return Field(
            parameter["name"],
            parameter["in"],
            type_parts(parameter["schema"]),
            bool(parameter.get("required")),
            parameter.get("description", ""),
            _limits(parameter["schema"]),
        )

    def _answer(self, status: str, response: Mapping[str, Any]) -> ResponseEntry:
        found = self._resolved(response)
        schemas = [each.get("schema", {}) for each in found.get("content", {}).values()]
        parts = type_parts(schemas[0]) if schemas and schemas[0] else []
        return ResponseEntry(status, response.get("description", found["description"]), parts)

    def _fields(self, schema: Mapping[str, Any]) -> list[Field]:
        """Return the members of an object."""
        required = schema.get("required", ())
        return [
            Field(
                name,
                "",
                type_parts(each),
                name in required,
                each.get("description", "") if isinstance(each, Mapping) else "",
                _limits(each),
            )
            for name, each in schema.get("properties", {}).items()
        ]

    def _resolved(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a reference refers to, or the value itself."""
        if "$ref" not in value:
            return value
        found: Any = self._document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        assert isinstance(found, Mapping)
        return found


def type_parts(schema: Any) -> list[TypePart]:
    """Return the type of a value in words."""
    if not isinstance(schema, Mapping) or not schema:
        return [TypePart("any value")]
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_COMPONENT)
        return [TypePart(name, name)]
    if "enum" in schema or "const" in schema:
        return [TypePart(" or ".join(map(str, schema.get("enum", [schema.get("const")]))))]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return _joined([type_parts(each) for each in schema[key]])
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        return [TypePart(" or ".join(kind))]
    if kind == "array":
        return [TypePart("list of "), *type_parts(schema.get("items", {}))]
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, Mapping) and values:
        return [TypePart("object of "), *type_parts(values)]
    form = schema.get("format")
    return [TypePart(f"{kind} ({form})" if form else kind)]


def _joined(alternatives: list[list[TypePart]]) -> list[TypePart]:
    """Return alternatives with `or` between them, each once."""
    different = [each for n, each in enumerate(alternatives) if each not in alternatives[:n]]
    joined = different[0][:]
    for each in different[1:]:
        joined += [TypePart(" or "), *each]
    return joined


def _limits(schema: Any) -> list[str]:
    """Return the limits of a value in words."""
    if not isinstance(schema, Mapping):
        return []
    own = [text.format(schema[key]) for key, text in _LIMITS.items() if key in schema]
    alternatives = [each for key in ("anyOf", "oneOf") for each in schema.get(key, ())]
    return own or [limit for each in alternatives for limit in _limits(each)]
