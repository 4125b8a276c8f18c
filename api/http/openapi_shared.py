"""The common parts of the operations in the OpenAPI document: each is written there once.

They are parameters, failures, and the answers that have the same shape for many actions.
"""

from __future__ import annotations

from typing import Any

from api.http.openapi_schemas import COMPONENTS, Schema, reference
from resop.config.webhook_hosts import MAX_ADDRESS_CHARACTERS

_REFERENCE = COMPONENTS + "{kind}/{name}"
_RETRY_AFTER = {
    "description": "Seconds to wait before the next request.",
    "schema": {"type": "integer"},
}
_LOCATION = {
    "description": "The path of the task or batch.",
    "schema": {"type": "string", "format": "uri-reference"},
}

FAILURES = {
    "400": ("MalformedRequest", "The request, or its body, is not valid HTTP."),
    "401": ("NotLoggedIn", "The token is missing or not accepted."),
    "403": ("NotPermitted", "The site's policy, or the cluster, does not permit this."),
    "404": ("NotFound", "Nothing with this name exists."),
    "408": ("RequestTimedOut", "The request did not arrive in time; nothing was done."),
    "409": ("TaskCancelled", "The task was cancelled."),
    "413": ("BodyTooLarge", "The body is too large."),
    "414": ("UriTooLong", "The address (path and query) is too long."),
    "415": ("UnsupportedBody", "The body has an unsupported type."),
    "421": ("HostNotAllowed", "The service has no such name as in the Host header."),
    "422": ("InvalidOptions", "The options are invalid; the answer lists every fault."),
    "424": ("ActionFailed", "A step on the cluster failed."),
    "429": ("LimitReached", "A limit was reached; `Retry-After` says when to try again."),
    "431": ("HeadersTooLarge", "The headers are too large, or too many."),
    "500": ("ServiceFault", "The service, or the operation's code, has failed."),
    "502": ("ClusterFailed", "The cluster cannot be reached, or the connection was lost."),
    "503": ("ServiceBusy", "A part of the service is unavailable, or too much is open."),
    "504": ("TimedOut", "The time limit was reached."),
    "507": ("RecordRefused", "The database, or the cluster, has no room for this."),
}
"""The failures by status: the name of the response, and what it means."""
ACTION_FAILURES = ("401", "403", "422", "424")
"""The failures of an action that a client has to expect; others are in the default."""


def failure_reference(status: str) -> dict[str, str]:
    """Return a reference to the response of a failure, or of any other one (`default`)."""
    name = FAILURES[status][0] if status in FAILURES else "Failure"
    return {"$ref": _REFERENCE.format(kind="responses", name=name)}


def response_reference(name: str) -> dict[str, str]:
    """Return a reference to a response of the document."""
    return {"$ref": _REFERENCE.format(kind="responses", name=name)}


def json_response(description: str, schema: Schema, headers: Any = None) -> dict[str, Any]:
    """Return a response with JSON."""
    response = {"description": description, "content": {"application/json": {"schema": schema}}}
    return {**response, "headers": headers} if headers else response


def shared_responses() -> dict[str, Any]:
    """Return the responses that operations refer to."""
    failures = {name: _failure(status, text) for status, (name, text) in FAILURES.items()}
    others = "; ".join(f"{status}: {text[0].lower()}{text[1:-1]}" for status, (_, text) in _OTHERS)
    return {
        **failures,
        "Failure": json_response(
            f"Any other failure; `error.type` names it. {others}.", reference("Failure")
        ),
        "Accepted": json_response(
            "The task has not ended yet; ask for it at `Location`.",
            reference("Task"),
            {"Location": _LOCATION, "Retry-After": _RETRY_AFTER},
        ),
        "CommandResult": json_response("The command succeeded.", reference("CommandResult")),
        "ActionDescription": json_response(
            "The action's description, options and examples.", reference("ActionDescription")
        ),
    }


def _failure(status: str, description: str) -> dict[str, Any]:
    headers = {"Retry-After": _RETRY_AFTER} if status in ("429", "503") else None
    return json_response(description, reference("Failure"), headers)


_OTHERS = [each for each in FAILURES.items() if each[0] not in ACTION_FAILURES]

PARAMETERS: dict[str, dict[str, Any]] = {
    "Prefer": {
        "in": "header",
        "schema": {"type": "string"},
        "description": "`respond-async`: answer 202 at once; `wait=N`: wait at most N seconds.",
    },
    "Idempotency-Key": {
        "in": "header",
        "schema": {"type": "string", "maxLength": 255},
        "description": "A key chosen by the client: the same request, repeated with this key "
        "within 24 hours, returns the same task.",
    },
    "tag": {
        "in": "query",
        "schema": {"type": "array", "items": {"type": "string", "maxLength": 64}},
        "description": "A tag for finding the task again; repeat the parameter for several.",
    },
    "timeout": {
        "in": "query",
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "Time limit in seconds, if shorter than the action's own.",
    },
    "dry_run": {
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "Change nothing. A command is shown as its command line. An operation that "
        "supports it runs the steps that only read, refuses what a real run would refuse, and "
        "answers with its `plan`; of others, the options are validated.",
    },
    "notify": {
        "in": "query",
        "schema": {"type": "string", "format": "uri", "maxLength": MAX_ADDRESS_CHARACTERS},
        "description": "An HTTPS address that is notified when the task, or the whole batch, has "
        "ended. The site must allow its host.",
    },
    "fresh": {
        "in": "query",
        "schema": {"type": "boolean", "default": False},
        "description": "Run the action again: do not share the answer of an identical request.",
    },
    "Cache-Control": {
        "in": "header",
        "schema": {"type": "string"},
        "description": "`no-cache`: like `fresh`; `max-age=N`: share an answer that is at most N "
        "seconds old.",
    },
}
"""The preferences of a request by name; operations refer to them."""
PREFERENCES = ("Prefer", "Idempotency-Key", "tag", "timeout", "dry_run", "notify")
CACHING = ("fresh", "Cache-Control")
"""The further preferences of an action whose answers are shared."""


def parameter_references(names: tuple[str, ...]) -> list[dict[str, str]]:
    """Return references to preferences."""
    return [{"$ref": _REFERENCE.format(kind="parameters", name=name)} for name in names]


def shared_parameters() -> dict[str, Any]:
    """Return the parameters that operations refer to."""
    return {name: {"name": name, **parameter} for name, parameter in PARAMETERS.items()}


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_RESULT: Schema = {"success": {"type": "boolean"}, "task": _TEXT, "seconds": {"type": "number"}}
_DRY_RUN: Schema = {
    "dry_run": {"type": "boolean", "description": "true for a dry run: nothing was changed"},
    "action": _TEXT,
    "options": {"type": "object", "additionalProperties": True},
    "time_limit": {"type": "number"},
    "approval": _TEXT,
}
"""The keys of the answer to a dry run, of any action."""
_PLAN: Schema = {"plan": reference("Plan"), "undo": reference("PlannedUndo")}
"""Further keys, of an operation with `dry_run`."""
_FIRST_STEP: Schema = {"command": _TEXT, "stdin": {"type": ["string", "null"]}}
"""Further keys, of an operation with a preview."""


def operation_result(
    output: Schema, *, in_api: bool, dry_run: bool = False, preview: bool = False
) -> Schema:
    """Return the schema of an operation's result, or of its dry run.

    One that runs in the API has no task.
    """
    properties = {**_RESULT, "operation": _TEXT, "output": output, "log": _TEXTS, **_DRY_RUN}
    properties |= (_PLAN if dry_run else {}) | (_FIRST_STEP if preview else {})
    if in_api:
        for name in ("task", "log", "options", "time_limit", "approval"):
            del properties[name]
    return {"type": "object", "required": ["success"], "properties": properties}


def command_result(output: Schema) -> Schema:
    """Return the schema of a command's result."""
    properties = {
        **_RESULT,
        "command": {**_TEXT, "description": "the command line, secrets masked"},
        "output": output,
        "stderr": _TEXT,
        "exit_code": {"type": "integer"},
        "truncated": {"type": "boolean", "description": "true if the output was cut"},
        **_DRY_RUN,
    }
    return {"type": "object", "required": ["success"], "properties": properties}


_FAULT = {
    "type": "object",
    "required": ["field", "message"],
    "properties": {"field": _TEXT, "message": _TEXT},
}
_PLANNED_STEPS = {
    "type": "array",
    "items": reference("PlannedStep"),
    "description": "all steps of a dry run, in order",
}
_PLANNED_UNDO = {
    **_TEXTS,
    "description": "what would be undone, in this order, if a step after the last one failed",
}
_ERROR = {
    "type": "object",
    "description": "What failed. Some types of error have further details.",
    "required": ["type", "message", "retryable"],
    "properties": {
        "type": {**_TEXT, "description": "the name of the error's type"},
        "message": {**_TEXT, "description": "what went wrong, for a person"},
        "retryable": {
            "type": "boolean",
            "description": "true if the very same request may succeed later and is safe to repeat",
        },
        "faults": {
            "type": "array",
            "items": reference("OptionFault"),
            "description": "each invalid option",
        },
        "retry_after": {"type": "number", "description": "seconds to wait"},
        "undone": {**_TEXTS, "description": "the steps that were undone"},
        "needs_repair": {**_TEXTS, "description": "what could not be undone"},
        "repair": {
            "type": "array",
            "items": reference("RemainingStep"),
            "description": "the same steps as objects",
        },
        "note": {**_TEXT, "description": "of a dry run: why a real run may answer otherwise"},
    },
}
_FAILURE = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {
        "success": {"type": "boolean", "description": "always false here"},
        "error": reference("Error"),
        "task": {**_TEXT, "description": "the id of the task that failed, if there is one"},
        "stderr": {"type": ["string", "null"]},
        "exit_code": {"type": ["integer", "null"]},
        "dry_run": _DRY_RUN["dry_run"],
        **_PLAN,
    },
}
_FORM = {
    "type": "object",
    "description": "The same options as in JSON, as the fields of a form: a list as a repeated "
    "field, an object as JSON.",
    "additionalProperties": {"anyOf": [_TEXT, _TEXTS]},
}
_DESCRIPTION = {
    "type": "object",
    "required": ["name", "action", "description", "url", "options", "examples", "schema"],
    "properties": {
        "name": _TEXT,
        "action": {**_TEXT, "description": "`operator:name`"},
        "description": _TEXT,
        "url": {**_TEXT, "description": "the path to POST to"},
        "options": {
            "type": "object",
            "additionalProperties": True,
            "description": "the JSON schema of each option, with `required`",
        },
        "examples": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
        "schema": {
            "type": "object",
            "additionalProperties": True,
            "description": "the JSON schema of all options",
        },
        "timeout": {"type": "number", "description": "time limit in seconds"},
        "share_for": {
            "type": ["number", "null"],
            "description": "seconds for which identical requests share one answer",
        },
        "batch": {**_TEXT, "description": "the path to POST a batch to"},
        "returns": {
            "type": "object",
            "additionalProperties": True,
            "description": "the JSON schema of an operation's output",
        },
        "dry_run": {"type": "boolean", "description": "true if a dry run answers with a plan"},
    },
}


def shared_schemas() -> dict[str, Schema]:
    """Return the schemas that the shared responses and bodies refer to."""
    return {
        "Failure": _FAILURE,
        "Error": _ERROR,
        "OptionFault": _FAULT,
        "Plan": _PLANNED_STEPS,
        "PlannedUndo": _PLANNED_UNDO,
        "FormFields": _FORM,
        "CommandResult": command_result({"type": "string"}),
        "ActionDescription": _DESCRIPTION,
    }
