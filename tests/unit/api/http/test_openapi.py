"""The OpenAPI document of all shipped actions: typed, and written so that generators take it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
from fastapi import FastAPI

from api.http.openapi import openapi_document
from api.main import ROUTERS
from resop.actions.catalog import load_catalog
from resop.actions.dry_run import PlannedStep
from resop.storage.models import DRY_RUN, Task
from resop.storage.serializers import result_json
from tests.support.openapi import json_schema, operations, resolve, walk

MAX_BYTES_OF_A_PATH = 3_700
"""With all that the paths share, on average."""


@cache
def document() -> Any:
    app = FastAPI(title="resop", version="1", description="The API.")
    for router in ROUTERS:
        app.include_router(router)
    return openapi_document(app, load_catalog())


def schemas() -> Iterator[Any]:
    for each in walk(document()["components"]["schemas"]):
        if isinstance(each, dict):
            yield each


def test_document_is_small() -> None:
    size = len(json.dumps(document(), ensure_ascii=False, separators=(",", ":")))
    assert size / len(document()["paths"]) < MAX_BYTES_OF_A_PATH


def test_schemas_are_such_as_generators_take() -> None:
    for each in schemas():
        assert not isinstance(each.get("title"), str), each
        assert not isinstance(each.get("const"), bool), each
        assert "default" not in each or each["default"] is not None, each
        assert "$defs" not in each and "patternProperties" not in each, each
    for name in document()["components"]["schemas"]:
        assert name.replace("_", "").isalnum(), name


def test_no_option_has_a_default_that_makes_it_required() -> None:
    for path, method, operation in operations(document()):
        content = operation.get("requestBody", {}).get("content", {})
        body = content.get("application/json", {}).get("schema", {})
        for name, option in resolve(document(), body).get("properties", {}).items():
            assert "default" not in option, (path, method, name)


def test_every_answer_is_typed() -> None:
    untyped = []
    for path, method, operation in operations(document()):
        for status, response in operation["responses"].items():
            schema = json_schema(document(), response)
            if schema is None or status[0] not in "2d":
                continue
            name = f"{method} {path} {status}"
            properties = schema.get("properties", {})
            if not properties or ("/opn/" in path and properties.get("output") == {}):
                untyped.append(name)
    assert untyped == []


def test_every_key_of_a_dry_run_is_declared() -> None:
    task = Task(
        id="1",
        kind=DRY_RUN,
        operator="ldap",
        action="create_user",
        username="ada",
        cluster="hpc",
        credential="1",
        request="1",
        options={},
        time_limit=60,
    )
    planning = {action.path for action in load_catalog() if action.dry_run}
    assert len(planning) > 30
    for path, method, operation in operations(document()):
        if path not in planning or method != "post":
            continue
        shown = json_schema(document(), operation["responses"]["200"])
        assert shown is not None and shown["properties"].keys() >= result_json(task).keys(), path
        plan = resolve(document(), shown["properties"]["plan"])
        step = resolve(document(), plan["items"])
        assert step["properties"].keys() == PlannedStep.__annotations__.keys()
    details = resolve(document(), {"$ref": "#/components/schemas/Task"})["properties"]
    assert details.keys() >= result_json(task).keys()
    failure = resolve(document(), {"$ref": "#/components/schemas/Failure"})["properties"]
    assert failure.keys() >= {"plan", "undo", "dry_run"}


def test_failures_and_preferences_are_references() -> None:
    for path, method, operation in operations(document()):
        assert "default" in operation["responses"], (path, method)
        for status, response in operation["responses"].items():
            if status[0] in "45d" and path != "/health/ready":
                assert set(response) == {"$ref"}, (path, method, status)
        for parameter in operation.get("parameters", ()):
            assert parameter.get("name") not in ("dry_run", "Idempotency-Key"), (path, method)


def test_operations_say_whether_they_need_a_token() -> None:
    open_paths = {
        path for path, _, operation in operations(document()) if operation["security"] == []
    }
    assert open_paths == {
        *("/", "/limits", "/health/live", "/health/ready"),
        *("/auth/opn/login", "/auth/opn/login_token"),
    }
    assert document()["servers"] == [{"url": "/"}]


def test_each_action_has_a_parameter() -> None:
    """A generator forgets an import in a module of an operation with two bodies and no other."""
    for path, method, operation in operations(document()):
        if len(operation.get("requestBody", {}).get("content", {})) > 1:
            assert operation["parameters"], (path, method)


def test_json_comes_before_a_form_of_another_type() -> None:
    for path, method, operation in operations(document()):
        content = operation.get("requestBody", {}).get("content", {})
        if "application/x-www-form-urlencoded" in content:
            first, second = content.values()
            assert next(iter(content)) == "application/json"
            assert first["schema"] != second["schema"], (path, method)


def test_examples_match_their_schemas() -> None:
    wrong = []
    components = document()["components"]
    for path, _, operation in operations(document()):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        examples = [each["value"] for each in body.get("examples", {}).values()]
        if not examples:
            continue
        schema = {**body["schema"], "components": components}
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        wrong += [(path, example) for example in examples if not validator.is_valid(example)]
    assert wrong == []
