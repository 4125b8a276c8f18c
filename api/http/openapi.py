"""The OpenAPI document: every command and operation has an entry of its own, with typed body."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from resop.actions.catalog import Action, Catalog
from resop.actions.command import Command
from resop.actions.sweep import BatchBody
from resop.config.webhook_hosts import LONGEST_ADDRESS

TEMPLATE = "#/components/schemas/{model}"
ANSWERS = {
    "200": "succeeded",
    "202": "not finished yet: look at Location",
    "401": "no token, or not accepted",
    "403": "the site's policy forbids it",
    "404": "there is nothing of that name",
    "409": "cancelled",
    "413": "the body is too large",
    "415": "the body is of an unknown type",
    "422": "the options are not valid: every fault is listed",
    "424": "a remote step failed",
    "429": "a limit is reached: Retry-After says when to try again",
    "500": "a fault of the service or of an operation",
    "502": "the cluster cannot be reached, or contact was lost",
    "503": "a part of the service is away",
    "504": "the time limit was reached",
}


def document(app: FastAPI, catalog: Catalog) -> dict[str, Any]:
    """The document of the routes, with a path for each action of the catalog."""
    made: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas["Failure"] = _FAILURE
    _add_model(schemas, BatchBody)
    _tell_of_our_failures(made)
    for action in catalog:
        made["paths"][_path(action)] = {
            "get": _described(action),
            "post": _run(action, schemas),
        }
    return made


def _tell_of_our_failures(made: dict[str, Any]) -> None:
    """FastAPI describes faults of parameters in a shape of its own, which we do not answer."""
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)
    for path, item in made["paths"].items():
        for operation in item.values():
            told = {"422"} & set(operation["responses"])
            told |= {"401"} if operation.get("security") else set()
            told |= {"404"} if "{" in path else set()
            operation["responses"] |= {status: _failed(ANSWERS[status]) for status in sorted(told)}
            operation["responses"]["default"] = _failed("anything else: the error says what")


def _failed(description: str) -> dict[str, Any]:
    schema = {"$ref": TEMPLATE.format(model="Failure")}
    content = {"application/json": {"schema": schema}}
    return {"description": description, "content": content}


def _path(action: Action) -> str:
    kind = "cmd" if isinstance(action, Command) else "opn"
    return f"/{action.operator}/{kind}/{action.name}"


def _run(action: Action, schemas: dict[str, Any]) -> dict[str, Any]:
    in_api = not isinstance(action, Command) and action.in_api
    name = f"{action.operator}_{action.kind}_{action.name}"
    schema = _add_model(schemas, action.options, name)
    body: dict[str, Any] = {"schema": {"$ref": TEMPLATE.format(model=name)}}
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
        "parameters": [] if in_api else PREFERENCES + (_FRESHNESS if action.share_for else []),
        "responses": dict(_responses(action)),
        "security": [] if action.title in OPEN else _BEARER,
    }


def _add_model(
    schemas: dict[str, Any], model: type[BaseModel], name: str | None = None
) -> dict[str, Any]:
    """Put a model's schema, and those it is made of, among the others; return it."""
    schema = model.model_json_schema(ref_template=TEMPLATE)
    schemas |= schema.pop("$defs", {})
    schemas[name or model.__name__] = schema
    return schema


def _described(action: Action) -> dict[str, Any]:
    return {
        "tags": [action.operator],
        "operationId": f"describe_{action.operator}_{action.kind}_{action.name}",
        "summary": f"Describe: {_first_line(action)}",
        "responses": {status: {"description": ANSWERS[status]} for status in ("200", "401", "404")},
        "security": _BEARER,
    }


def _responses(action: Action) -> Iterable[tuple[str, Any]]:
    for status, meaning in ANSWERS.items():
        response: dict[str, Any] = {"description": meaning}
        if status == "200":
            response["content"] = {"application/json": {"schema": _answer(action)}}
        yield status, response if status in ("200", "202") else _failed(meaning)


def _answer(action: Action) -> dict[str, Any]:
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
            # A schema with definitions of its own is shown by GET on the action.
            "output": returns if "$defs" not in returns else {},
            "log": {"type": "array", "items": {"type": "string"}},
        }
    return {"type": "object", "properties": {**properties, "seconds": {"type": "number"}}}


def _first_line(action: Action) -> str:
    return action.description.partition("\n")[0] or action.title


OPEN = ("auth:login", "auth:login_token")
"""Those that nobody needs a token for."""
_BEARER: list[dict[str, list[str]]] = [{"HTTPBearer": []}]

PREFERENCES = [
    {
        "name": "Prefer",
        "in": "header",
        "schema": {"type": "string"},
        "description": "respond-async: answer 202 at once; wait=N: wait at most N seconds",
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "maxLength": 255},
        "description": "the same key and body again, within 24 h, is answered with the same task",
    },
    {
        "name": "tag",
        "in": "query",
        "schema": {"type": "array", "items": {"type": "string", "maxLength": 64}},
        "description": "labels, to find the task again",
    },
    {
        "name": "timeout",
        "in": "query",
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "time limit in seconds, where it is to be shorter than the action's own",
    },
    {
        "name": "dry_run",
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "validate and show the command line; run nothing",
    },
    {
        "name": "notify",
        "in": "query",
        "schema": {"type": "string", "format": "uri", "maxLength": LONGEST_ADDRESS},
        "description": "HTTPS address that is told when the task, or the whole batch, has ended",
    },
]

_FRESHNESS = [
    {
        "name": "fresh",
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "ask anew: do not share the answer to the same question of a moment ago",
    },
    {
        "name": "Cache-Control",
        "in": "header",
        "schema": {"type": "string"},
        "description": "no-cache: as fresh; max-age=N: an answer at most N seconds old",
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
