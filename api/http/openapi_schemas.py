"""JSON schemas for the OpenAPI document: as generators of clients read them best.

Generators make a type of each schema under `components`, so that each needs a name of its own, also
where two operators have a type of the same name. Some stumble over what JSON Schema allows: titles
that are not unique, a constant that is a boolean, a default of null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from api.http.ecma_patterns import ecma_pattern

COMPONENTS = "#/components/"
"""The beginning of every reference in the document."""
SCHEMA_REFERENCE = COMPONENTS + "schemas/{model}"
"""The template of a reference to a schema of the document, as pydantic takes it."""
_DEFINITION = "#/$defs/"
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "propertyNames", "contains", "not")
_NULL = {"type": "null"}
_SIMPLE_TYPES = ("string", "integer", "number", "boolean")
_EMPTY_DEFAULTS: tuple[Any, ...] = ("", [], {})

Schema = dict[str, Any]


def reference(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": SCHEMA_REFERENCE.format(model=name)}


def clean_schema(schema: Any) -> Any:
    """Return a schema without what generators of clients stumble over; it may be a boolean."""
    if not isinstance(schema, dict):
        return schema
    cleaned: Schema = {}
    for key, value in schema.items():
        if key == "title" or (key == "default" and value is None):
            continue
        cleaned |= _clean_keyword(key, value)
    if isinstance(cleaned.get("const"), bool):
        del cleaned["const"]
        cleaned["type"] = "boolean"
    return _with_named_keys(_with_null_as_type(cleaned))


def without_null(schema: Schema) -> Schema:
    """Return the schema of options without `null` where it means the same as no value."""
    options = schema.get("properties", {})
    properties = {name: _without_null(each) for name, each in options.items()}
    return {**schema, "properties": properties}


def _without_null(option: Schema) -> Schema:
    alternatives = option.get("anyOf", [])
    if option.get("default", ...) is not None or _NULL not in alternatives:
        return option
    others = [each for each in alternatives if each != _NULL]
    rest = {key: value for key, value in option.items() if key not in ("anyOf", "default")}
    return {**(others[0] if len(others) == 1 else {"anyOf": others}), **rest}


def _with_null_as_type(schema: Schema) -> Schema:
    """Return the schema of a simple value or null in its short form, as a list of two types."""
    alternatives = schema.get("anyOf", [])
    if len(alternatives) != 2 or _NULL not in alternatives:
        return schema
    (other,) = [each for each in alternatives if each != _NULL]
    if other.get("type") not in _SIMPLE_TYPES or other.keys() & {"enum", "const", "description"}:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**other, **rest, "type": [other["type"], "null"]}


def _clean_keyword(key: str, value: Any) -> Schema:
    if key in _NAMED_SCHEMAS:
        return {key: {name: clean_schema(each) for name, each in value.items()}}
    if key in _SCHEMA_LISTS:
        return {key: [clean_schema(each) for each in value]}
    if key in _SCHEMAS:
        return {key: clean_schema(value)}
    if key == "pattern":
        pattern = ecma_pattern(value)
        return {} if pattern is None else {key: pattern}
    return {key: value}


def _with_named_keys(schema: Schema) -> Schema:
    """Return the schema of an object whose keys match one pattern as most tools understand it."""
    patterns = schema.get("patternProperties", {})
    if len(patterns) != 1 or schema.keys() & {"properties", "additionalProperties"}:
        return schema
    ((pattern, values),) = patterns.items()
    keys = ecma_pattern(pattern)
    others = {key: value for key, value in schema.items() if key != "patternProperties"}
    names = {} if keys is None else {"propertyNames": {"type": "string", "pattern": keys}}
    return {**others, **names, "additionalProperties": values}


class SchemaRegistry:
    """The schemas of a document's components; each definition has a name of its own there."""

    def __init__(self, schemas: dict[str, Schema]) -> None:
        """Add to `schemas`, those of the document."""
        self.schemas = schemas
        self._sources: dict[str, str] = {}

    def add(self, name: str, schema: Schema, *qualifiers: str) -> Schema:
        """Add a schema with its definitions, and return a reference to it."""
        self.schemas[name] = self.without_definitions(schema, *qualifiers)
        return reference(name)

    def without_definitions(self, schema: Schema, *qualifiers: str) -> Schema:
        """Return a clean schema whose `$defs` have become components.

        `qualifiers`, such as an operator and its action, tell definitions of the same name apart.
        """
        definitions: dict[str, Schema] = schema.get("$defs", {})
        names = {each: self._name(each, definitions, qualifiers) for each in definitions}
        for each, definition in definitions.items():
            if names[each] not in self.schemas:
                self.schemas[names[each]] = clean_schema(_renamed(definition, names))
        own = {key: value for key, value in schema.items() if key != "$defs"}
        found: Schema = clean_schema(_renamed(own, names))
        return found

    def _name(
        self, name: str, definitions: Mapping[str, Schema], qualifiers: tuple[str, ...]
    ) -> str:
        """Return the component of a definition: an equal one, or a name that is not taken."""
        source = json.dumps(dict(sorted(_closure(name, definitions).items())), sort_keys=True)
        for candidate in _candidates(name, qualifiers):
            if self._sources.get(candidate) == source:
                return candidate
            if candidate not in self._sources and candidate not in self.schemas:
                self._sources[candidate] = source
                return candidate
        raise AssertionError("there is always another number")


def _candidates(name: str, qualifiers: tuple[str, ...]) -> Iterator[str]:
    yield name
    prefix = ""
    for qualifier in qualifiers:
        prefix += f"{qualifier}_"
        yield prefix + name
    for number in range(2, 1000):
        yield f"{prefix}{name}_{number}"


def _closure(name: str, definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return a definition and the definitions it refers to."""
    found: dict[str, Schema] = {}
    open_names = [name]
    while open_names:
        each = open_names.pop()
        if each not in found:
            found[each] = definitions[each]
            places = (part for part in _texts(found[each]) if part.startswith(_DEFINITION))
            open_names += (place.removeprefix(_DEFINITION) for place in places)
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return a schema that refers to components in place of its own definitions."""
    if isinstance(value, dict):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    if isinstance(value, str) and value.startswith(_DEFINITION):
        return SCHEMA_REFERENCE.format(model=names[value.removeprefix(_DEFINITION)])
    return value


def describe_defaults(schemas: Mapping[str, Schema], bodies: Iterable[Schema]) -> None:
    """Say the defaults of requests' options in words; `bodies` are the schemas of the requests.

    A generator would make an option with a default one that each caller has to give.
    """
    beginning = SCHEMA_REFERENCE.format(model="")
    seen: set[str] = set()
    open_schemas = list(bodies)
    while open_schemas:
        schema = open_schemas.pop()
        for option in schema.get("properties", {}).values():
            _describe_default(option)
        places = set(references(schema)) - seen
        seen |= places
        open_schemas += [schemas[place.removeprefix(beginning)] for place in places]


def references(value: Any) -> Iterator[str]:
    """Yield the components that a part of the document refers to, as `#/components/KIND/NAME`."""
    return (text for text in _texts(value) if text.startswith(COMPONENTS))


def _describe_default(option: Schema) -> None:
    default = option.pop("default", None)
    if default is None or default is False or default in _EMPTY_DEFAULTS:
        return
    text = default if isinstance(default, str) else json.dumps(default, ensure_ascii=False)
    described: str = option.get("description", "")
    if described.endswith("."):
        option["description"] = f"{described} Default: `{text}`."
    else:
        option["description"] = f"{described}{'; ' if described else ''}default: `{text}`"
