"""Read an OpenAPI document: references, operations and their parameters."""

from collections.abc import Iterator, Mapping
from typing import Any

METHODS = {"get", "post", "put", "delete", "patch", "head", "options", "trace"}


def resolve(document: Mapping[str, Any], value: Any) -> Any:
    """Return what a reference, or an object that is one, refers to; else the value itself."""
    reference = value.get("$ref") if isinstance(value, Mapping) else value
    if reference is None:
        return value
    assert reference.startswith("#/"), reference
    found: Any = document
    for part in reference[2:].split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield path, method and operation of each operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def parameters(document: Mapping[str, Any], operation: Mapping[str, Any]) -> list[Any]:
    """Return the parameters of an operation, without references."""
    return [resolve(document, each) for each in operation.get("parameters", ())]


def json_schema(document: Mapping[str, Any], response: Mapping[str, Any]) -> Any:
    """Return the schema of a response in JSON, resolved; None if it has none."""
    content = resolve(document, response).get("content", {})
    if "application/json" not in content:
        return None
    return resolve(document, content["application/json"].get("schema", {}))


def walk(value: Any) -> Iterator[Any]:
    """Yield a JSON value and all values inside it."""
    yield value
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict | list):
            yield from walk(each)
