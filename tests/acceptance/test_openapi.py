"""The OpenAPI document: every action has its own path and typed body."""

import importlib
import importlib.util
from typing import Any

import pytest

from tests.support.openapi import json_schema, operations, parameters, resolve, walk
from tests.support.service import Caller, Service

NO_ACTIONS = {
    *("/{operator}/{kind}/{action}/batch", "/batches/{batch_id}/retry", "/api-keys"),
    *("/approvals/{approval_id}/approve", "/approvals/{approval_id}/refuse"),
    *("/tasks/{task_id}/repair", "/tasks/{task_id}/secrets"),
    *("/batches/{batch_id}/results.csv", "/batches/{batch_id}/results.ndjson"),
}
"""The paths with a POST that runs no action of its own."""


@pytest.fixture(scope="session")
def document(service: Service) -> Any:
    answer = service.caller().http.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def test_every_action_has_a_path_and_a_body_typed_by_its_options(
    document: Any, alice: Caller
) -> None:
    found = 0
    for operator in alice.http.get("/operators").json()["operators"]:
        urls = [f"/{operator['name']}/cmd/{name}" for name in operator["commands"]]
        urls += [f"/{operator['name']}/opn/{name}" for name in operator["operations"]]
        for url in urls:
            described = alice.http.get(url).json()
            item = document["paths"][url]
            assert set(item) == {"get", "post"}
            bodies = item["post"]["requestBody"]["content"]
            assert list(bodies) == ["application/json", "application/x-www-form-urlencoded"]
            required = {name for name, each in described["options"].items() if each["required"]}
            schema = resolve(document, bodies["application/json"]["schema"])
            assert set(schema.get("properties", {})) == set(described["options"])
            assert set(schema.get("required", [])) == required
            assert schema["additionalProperties"] is False
            assert item["post"]["requestBody"]["required"] is bool(required)
            found += 1
    assert found > 30
    posts = {path for path, method, _ in operations(document) if method == "post"}
    # There is no generic path for actions, except for batches.
    assert len(posts - NO_ACTIONS) == found


def test_every_reference_resolves_and_every_schema_is_used(document: Any) -> None:
    references = {
        each["$ref"] for each in walk(document) if isinstance(each, dict) and "$ref" in each
    }
    for reference in references:
        assert isinstance(resolve(document, reference), dict)
    unused = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert not unused - references


def test_document_is_valid_openapi_3_1(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    schemes = document["components"]["securitySchemes"]
    for path, method, operation in operations(document):
        shown = parameters(document, operation)
        declared = {each["name"] for each in shown if each["in"] == "path"}
        assert declared == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert operation["responses"], (path, method)
        for status, response in operation["responses"].items():
            assert status.isdecimal() or status == "default"
            assert resolve(document, response)["description"]
        for requirement in operation["security"]:
            assert set(requirement) <= set(schemes)
    if importlib.util.find_spec("openapi_spec_validator") is not None:
        importlib.import_module("openapi_spec_validator").validate(document)


OF_SOME_ANSWERS = {
    *("truncated", "dry_run", "action", "options", "time_limit", "approval"),
    *("plan", "undo"),
}
"""Keys that only answers with a long output, or to dry runs, have."""


def test_answers_match_the_declared_schemas(document: Any, alice: Caller) -> None:
    def declared(url: str, status: str) -> Any:
        return json_schema(document, document["paths"][url]["post"]["responses"][status])

    cases: list[tuple[str, dict[str, Any]]] = [
        ("/core/opn/run", {"command": "echo"}),
        ("/utils/cmd/id", {}),
        ("/mysite/opn/trail", {"file": "x", "steps": 0}),
    ]
    for url, options in cases:
        answer = alice.post(url[1:], options)
        properties = set(declared(url, "200")["properties"])
        assert properties - OF_SOME_ANSWERS <= set(answer.json()) <= properties, url
    failed = alice.post("utils/cmd/cat", {"input": ["/nothing"]}).json()
    wanted = declared("/utils/cmd/cat", "424")
    assert set(wanted["required"]) <= set(failed)
    error = resolve(document, wanted["properties"]["error"])
    assert set(error["required"]) <= set(failed["error"])


def test_tasks_are_as_declared(document: Any, alice: Caller) -> None:
    done = alice.run("true").json()["task"]
    schemas = document["components"]["schemas"]
    task = alice.http.get(f"/tasks/{done}").json()
    assert set(schemas["Task"]["required"]) <= set(task) <= set(schemas["Task"]["properties"])
    summary = alice.http.get("/tasks").json()["tasks"][0]
    assert set(summary) <= set(schemas["TaskSummary"]["properties"])
    limits = alice.http.get("/limits").json()
    assert set(limits) == set(schemas["Limits"]["properties"])
    ready = alice.http.get("/health/ready").json()
    assert set(ready) <= set(schemas["Readiness"]["properties"])


def test_document_is_compressed_and_sent_once(service: Service) -> None:
    http = service.caller().http
    whole = http.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert whole.headers["content-encoding"] == "gzip"
    assert int(whole.headers["content-length"]) < 100_000
    plain = http.get("/openapi.json", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.json() == whole.json()
    known = http.get("/openapi.json", headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
