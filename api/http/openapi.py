"""The OpenAPI document: every command and operation has its own path with a typed body.

It is the contract that clients are generated from. What many operations share is written once,
under `components`, since there are hundreds of operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.http.fastapi_internals import DEFAULT_DESCRIPTION, without_validation_schemas
from api.http.openapi_actions import action_path
from api.http.openapi_schemas import (
    COMPONENTS,
    SchemaRegistry,
    clean_schema,
    describe_defaults,
    references,
)
from api.http.openapi_shared import (
    FAILURES,
    failure_reference,
    shared_parameters,
    shared_responses,
    shared_schemas,
)
from resop.actions.catalog import Catalog
from resop.actions.sweep import BatchBody

CLUSTER_PATH = (
    "Path on the cluster: `~/x` in the home folder, `-/x` from the root folder; or relative to the "
    "home folder, unless its first name is also one of the root folder."
)


def openapi_document(app: FastAPI, catalog: Catalog) -> dict[str, Any]:
    """Return the document of all routes, with a path for each action of the catalog."""
    document: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    components |= {"parameters": shared_parameters(), "responses": shared_responses()}
    schemas = components.setdefault("schemas", {})
    without_validation_schemas(document)
    _summarize(document)
    _describe_cluster_paths(document)
    _describe_answers(document)
    schemas |= {name: clean_schema(schema) for name, schema in schemas.items()}
    schemas |= shared_schemas()
    registry = SchemaRegistry(schemas)
    registry.add("BatchBody", BatchBody.model_json_schema())
    for action in catalog:
        document["paths"][action.path] = action_path(action, registry)
    contents = [each.get("requestBody", {}).get("content", {}) for each in _operations(document)]
    describe_defaults(schemas, [each["schema"] for found in contents for each in found.values()])
    document["components"] = _used_components(document)
    document["servers"] = [{"url": "/"}]
    document["tags"] = _tags(document, catalog)
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def _summarize(document: dict[str, Any]) -> None:
    """Use the first line of each description as the summary, in place of a function's name."""
    for operation in _operations(document):
        operation["summary"] = operation["description"].partition("\n")[0].removesuffix(".")
        for response in operation["responses"].values():
            if response["description"] == DEFAULT_DESCRIPTION:
                response["description"] = "The request succeeded."


def _describe_cluster_paths(document: dict[str, Any]) -> None:
    """Describe the path on the cluster where it is: in the address, or in the query."""
    for path, item in document["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if (parameter.get("in"), parameter.get("name")) == ("query", "path"):
                    parameter |= {"required": True, "schema": {"type": "string"}}
                    if "{path}" in path:
                        parameter |= {"in": "path", "description": CLUSTER_PATH}


def _describe_answers(document: dict[str, Any]) -> None:
    """Describe failures as resop answers them, and each answer and parameter by a clean schema."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            operation.setdefault("security", [])
            declared = operation["responses"]
            statuses = {each for each in declared if "content" not in declared[each]}
            statuses = {"422", *statuses} & declared.keys() & FAILURES.keys()
            statuses |= {"401"} if operation["security"] else set()
            statuses |= {"404"} if "{" in path else set()
            if method == "head":
                operation["responses"]["200"].pop("content", None)
            for each in _schema_holders(operation):
                each["schema"] = clean_schema(_without_siblings(each["schema"]))
            failures = (*sorted(statuses), "default")
            operation["responses"] |= {status: failure_reference(status) for status in failures}


def _schema_holders(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the parts of an operation that have a schema: parameters, bodies and answers."""
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    media = [each for body in bodies for each in body.get("content", {}).values()]
    for each in [*operation.get("parameters", ()), *media]:
        if "schema" in each:
            yield each


def _without_siblings(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the reference alone, where FastAPI has added a declared model to a plain `dict`."""
    return {"$ref": schema["$ref"]} if "$ref" in schema else schema


def _used_components(document: dict[str, Any]) -> dict[str, Any]:
    """Return the components that the document refers to, each kind by name."""
    components = document["components"]
    used = set[str]()
    open_places = set(references(document["paths"]))
    while open_places:
        used.add(place := open_places.pop())
        kind, name = place.removeprefix(COMPONENTS).split("/")
        open_places |= set(references(components[kind][name])) - used
    kept = {
        kind: {
            name: each
            for name, each in sorted(found.items())
            if f"{COMPONENTS}{kind}/{name}" in used
        }
        for kind, found in components.items()
    }
    return {**kept, "securitySchemes": components["securitySchemes"]}


def _tags(document: dict[str, Any], catalog: Catalog) -> list[dict[str, str]]:
    """Return the tags in the order of their operations; those of operators with a description."""
    names = dict.fromkeys(tag for each in _operations(document) for tag in each.get("tags", ()))
    texts = {each.name: each.description for each in catalog.operators.values()}
    return [
        {"name": name, **({"description": texts[name]} if texts.get(name) else {})}
        for name in names
    ]
