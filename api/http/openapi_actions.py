"""The paths of actions in the OpenAPI document: GET describes an action, POST runs it."""

from __future__ import annotations

from typing import Any

from api.http.openapi_schemas import Schema, SchemaRegistry, reference, without_null
from api.http.openapi_shared import (
    ACTION_FAILURES,
    CACHING,
    PREFERENCES,
    command_result,
    failure_reference,
    json_response,
    operation_result,
    parameter_references,
    response_reference,
)
from api.http.option_schemas import OptionSchemas
from resop.actions.catalog import Action
from resop.actions.command import Command

OPEN_ACTIONS = ("auth:login", "auth:login_token")
"""The actions that need no token."""
BEARER: list[dict[str, list[str]]] = [{"HTTPBearer": []}, {"APIKeyHeader": []}]


def action_path(action: Action, registry: SchemaRegistry) -> dict[str, Any]:
    """Return the operations of an action's path; its schemas are added to the registry."""
    return {"get": _describe(action), "post": _run(action, registry)}


def _describe(action: Action) -> dict[str, Any]:
    return {
        "tags": [action.operator],
        "operationId": f"describe_{_name(action)}",
        "summary": f"Describe {action.title}",
        "responses": {
            "200": response_reference("ActionDescription"),
            **{status: failure_reference(status) for status in ("401", "default")},
        },
        "security": BEARER,
    }


def _run(action: Action, registry: SchemaRegistry) -> dict[str, Any]:
    described = {"description": action.description} if "\n" in action.description else {}
    return {
        "tags": [action.operator],
        "operationId": f"run_{_name(action)}",
        "summary": (action.description.partition("\n")[0] or action.title).removesuffix("."),
        **described,
        "requestBody": _body(action, registry),
        "parameters": _parameters(action),
        "responses": _responses(action, registry),
        "security": [] if action.title in OPEN_ACTIONS else BEARER,
    }


def _name(action: Action) -> str:
    return f"{action.operator}_{action.kind}_{action.name}"


def _parameters(action: Action) -> list[dict[str, str]]:
    if action.in_api:
        return parameter_references(("dry_run",))
    return parameter_references(PREFERENCES + (CACHING if action.share_for else ()))


def _body(action: Action, registry: SchemaRegistry) -> dict[str, Any]:
    """Return the body: JSON first, which generators of clients then send."""
    options = action.options.model_json_schema(schema_generator=OptionSchemas)
    schema = registry.add(_name(action), without_null(options), action.operator, action.name)
    body: dict[str, Any] = {"schema": schema}
    if action.examples:
        body["examples"] = {
            str(number): {"value": example} for number, example in enumerate(action.examples, 1)
        }
    form = {"schema": reference("FormFields")}
    return {
        "required": bool(options.get("required")),
        "content": {"application/json": body, "application/x-www-form-urlencoded": form},
    }


def _responses(action: Action, registry: SchemaRegistry) -> dict[str, Any]:
    accepted = {} if action.in_api else {"202": response_reference("Accepted")}
    statuses = (*ACTION_FAILURES, "default")
    failures = {status: failure_reference(status) for status in statuses}
    return {"200": _success(action, registry), **accepted, **failures}


def _success(action: Action, registry: SchemaRegistry) -> dict[str, Any]:
    if isinstance(action, Command):
        if action.entry.output == "text":
            return response_reference("CommandResult")
        return json_response("The command succeeded.", command_result({}))
    returns = action.returns()
    output: Schema = registry.without_definitions(returns, action.operator, action.name)
    result = operation_result(
        output,
        in_api=action.in_api,
        dry_run=action.dry_run,
        preview=action.preview,
    )
    schema = registry.add(f"{_name(action)}_result", result)
    return json_response("The operation succeeded.", schema)
