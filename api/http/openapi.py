"""The OpenAPI document: every command and operation has its own path with a typed body."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.http.fastapi_internals import DEFAULT_DESCRIPTION, without_validation_schemas
from resop.actions.catalog import Action, Catalog
from resop.actions.command import Command
from resop.actions.sweep import BatchBody
from resop.config.webhook_hosts import MAX_ADDRESS_CHARACTERS

CLUSTER_PATH = (
    "Path on the cluster: `~/x` in the home folder, `-/x` from the root folder; or relative to the "
    "home folder, unless its first name is also one of the root folder."
)
SCHEMA_REFERENCE = "#/components/schemas/{model}"
OPEN_ACTIONS = ("auth:login", "auth:login_token")
"""The actions that need no token."""
RESPONSES = {
    "200": "The action succeeded.",
    "202": "The task has not ended yet; ask for it at `Location`.",
    "401": "The token is missing or not accepted.",
    "403": "The site's policy forbids this.",
    "404": "Nothing with this name exists.",
    "409": "The task was cancelled.",
    "413": "The body is too large.",
    "415": "The body has an unsupported type.",
    "422": "The options are invalid; the answer lists every fault.",
    "424": "A step on the cluster failed.",
    "429": "A limit was reached; `Retry-After` says when to try again.",
    "500": "The service, or the operation's code, has failed.",
    "502": "The cluster cannot be reached, or the connection was lost.",
    "503": "A part of the service is unavailable.",
    "504": "The time limit was reached.",
    "507": "The database cannot store the options or the result.",
}

FRONT_RESPONSES = {
    "400": ("MalformedRequest", "The request, or its body, is not valid HTTP."),
    "408": ("RequestTimedOut", "The request did not arrive in time; nothing was done."),
    "414": ("UriTooLong", "The address (path and query) is too long."),
    "421": ("HostNotAllowed", "The service has no such name as in the Host header."),
    "429": ("LimitReached", "A limit was reached; `Retry-After` says when to try again."),
    "431": ("HeadersTooLarge", "The headers are too large, or too many."),
    "503": ("ServiceBusy", "A part of the service is unavailable, or too much is open."),
    "507": ("RecordRefused", "The database cannot store this."),
}
"""Failures of any request, whatever its route, with the name of their error, by status."""


def openapi_document(app: FastAPI, catalog: Catalog) -> dict[str, Any]:
    """Return the document of all routes, with a path for each action of the catalog."""
    document: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Failure"] = _FAILURE
    _add_model(schemas, BatchBody)
    _describe_failures(document)
    _summarize(document)
    _describe_cluster_paths(document)
    for action in catalog:
        document["paths"][action.path] = {
            "get": _describe_path(action),
            "post": _run_path(action, schemas),
        }
    _describe_front(document)
    return document


def _describe_failures(document: dict[str, Any]) -> None:
    """Describe failures as resop answers them, in place of FastAPI's own shape."""
    without_validation_schemas(document)
    for path, item in document["paths"].items():
        for operation in item.values():
            statuses = {"422"} & set(operation["responses"])
            statuses |= {"401"} if operation.get("security") else set()
            statuses |= {"404"} if "{" in path else set()
            operation["responses"] |= {
                status: _failure_response(RESPONSES[status]) for status in sorted(statuses)
            }
            operation["responses"]["default"] = _failure_response(
                "Any other failure; the error describes it."
            )


def _describe_front(document: dict[str, Any]) -> None:
    """Add the failures that are the same for all requests, by reference: there are many paths."""
    document["components"]["responses"] = {
        name: _failure_response(description) for name, description in FRONT_RESPONSES.values()
    }
    for item in document["paths"].values():
        for operation in item.values():
            for status, (name, description) in FRONT_RESPONSES.items():
                place = f"#/components/responses/{name}"
                reference = {"$ref": place, "description": description}
                operation["responses"].setdefault(status, reference)


def _summarize(document: dict[str, Any]) -> None:
    """Use the first line of each description as the summary, in place of a function's name."""
    for item in document["paths"].values():
        for operation in item.values():
            first_line = operation["description"].partition("\n")[0]
            operation["summary"] = first_line.removesuffix(".")
            for response in operation["responses"].values():
                if response["description"] == DEFAULT_DESCRIPTION:
                    response["description"] = "The request succeeded."


def _describe_cluster_paths(document: dict[str, Any]) -> None:
    """Describe the path on the cluster where it is: in the address, or in the query."""
    for path, item in document["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if (parameter["in"], parameter["name"]) == ("query", "path"):
                    parameter |= {"required": True, "schema": {"type": "string"}}
                    if "{path}" in path:
                        parameter |= {"in": "path", "description": CLUSTER_PATH}


def _failure_response(description: str) -> dict[str, Any]:
    schema = {"$ref": SCHEMA_REFERENCE.format(model="Failure")}
    content = {"application/json": {"schema": schema}}
    return {"description": description, "content": content}


def _run_path(action: Action, schemas: dict[str, Any]) -> dict[str, Any]:
    name = f"{action.operator}_{action.kind}_{action.name}"
    schema = _add_model(schemas, action.options, name)
    body: dict[str, Any] = {"schema": {"$ref": SCHEMA_REFERENCE.format(model=name)}}
    if action.examples:
        body["examples"] = {
            str(number): {"value": example} for number, example in enumerate(action.examples, 1)
        }
    return {
        "tags": [action.operator],
        "operationId": f"run_{name}",
        "summary": _first_line(action),
        "description": action.description,
        "requestBody": {
            "required": bool(schema.get("required")),
            "content": {"application/json": body, "application/x-www-form-urlencoded": body},
        },
        "parameters": (
            [] if action.in_api else PREFERENCES + (_CACHING if action.share_for else [])
        ),
        "responses": dict(_responses(action)),
        "security": [] if action.title in OPEN_ACTIONS else _BEARER,
    }


def _add_model(
    schemas: dict[str, Any], model: type[BaseModel], name: str | None = None
) -> dict[str, Any]:
    """Add a model's schema, and the schemas it refers to, to `schemas`; return it."""
    schema = model.model_json_schema(ref_template=SCHEMA_REFERENCE)
    schemas |= schema.pop("$defs", {})
    schemas[name or model.__name__] = schema
    return schema


def _describe_path(action: Action) -> dict[str, Any]:
    return {
        "tags": [action.operator],
        "operationId": f"describe_{action.operator}_{action.kind}_{action.name}",
        "summary": f"Describe: {_first_line(action)}",
        "responses": {
            "200": {"description": "The action's description, options and examples."},
            "401": {"description": RESPONSES["401"]},
            "404": {"description": RESPONSES["404"]},
        },
        "security": _BEARER,
    }


def _responses(action: Action) -> Iterable[tuple[str, Any]]:
    for status, description in RESPONSES.items():
        response: dict[str, Any] = {"description": description}
        if status == "200":
            response["content"] = {"application/json": {"schema": _result_schema(action)}}
        yield status, response if status in ("200", "202") else _failure_response(description)


def _result_schema(action: Action) -> dict[str, Any]:
    properties: dict[str, Any] = {"success": {"const": True}, "task": {"type": "string"}}
    if isinstance(action, Command):
        output = {"type": "string"} if action.entry.output == "text" else {}
        properties |= {
            "command": {"type": "string"},
            "output": output,
            "stderr": {"type": "string"},
            "exit_code": {"type": "integer"},
        }
    else:
        returns = action.returns()
        properties |= {
            "operation": {"type": "string"},
            # GET on the action shows a schema that has definitions.
            "output": returns if "$defs" not in returns else {},
            "log": {"type": "array", "items": {"type": "string"}},
        }
    return {"type": "object", "properties": {**properties, "seconds": {"type": "number"}}}


def _first_line(action: Action) -> str:
    return action.description.partition("\n")[0] or action.title


_BEARER: list[dict[str, list[str]]] = [{"HTTPBearer": []}, {"APIKeyHeader": []}]

PREFERENCES = [
    {
        "name": "Prefer",
        "in": "header",
        "schema": {"type": "string"},
        "description": "`respond-async`: answer 202 at once; `wait=N`: wait at most N seconds.",
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "maxLength": 255},
        "description": "A key chosen by the client: the same request, repeated with this key "
        "within 24 hours, returns the same task.",
    },
    {
        "name": "tag",
        "in": "query",
        "schema": {"type": "array", "items": {"type": "string", "maxLength": 64}},
        "description": "A tag for finding the task again; repeat the parameter for several.",
    },
    {
        "name": "timeout",
        "in": "query",
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "Time limit in seconds, if shorter than the action's own.",
    },
    {
        "name": "dry_run",
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "Validate the options and show the command line; run nothing.",
    },
    {
        "name": "notify",
        "in": "query",
        "schema": {"type": "string", "format": "uri", "maxLength": MAX_ADDRESS_CHARACTERS},
        "description": "An HTTPS address that is notified when the task, or the whole batch, has "
        "ended. The site must allow its host.",
    },
]

_CACHING = [
    {
        "name": "fresh",
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "Run the action again: do not share the answer of an identical request.",
    },
    {
        "name": "Cache-Control",
        "in": "header",
        "schema": {"type": "string"},
        "description": "`no-cache`: like `fresh`; `max-age=N`: share an answer that is at most N "
        "seconds old.",
    },
]

_FAILURE = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "required": ["type", "message", "retryable"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "retryable": {"type": "boolean"},
            },
        },
    },
}
