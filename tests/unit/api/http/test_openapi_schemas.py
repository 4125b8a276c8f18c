"""Schemas of the OpenAPI document, as generators of clients need them."""

from typing import Any

from api.http.openapi_schemas import (
    SchemaRegistry,
    clean_schema,
    describe_defaults,
    reference,
    without_null,
)


def test_what_generators_stumble_over_is_left_out() -> None:
    schema = {
        "title": "options",
        "type": "object",
        "properties": {
            "title": {"title": "Title", "type": "string", "default": None},
            "done": {"const": True},
            "kind": {"const": "list", "type": "string"},
            "name": {"anyOf": [{"type": "string", "pattern": r"^\#"}, {"type": "null"}]},
        },
        "additionalProperties": False,
    }
    assert clean_schema(schema) == {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "done": {"type": "boolean"},
            "kind": {"const": "list", "type": "string"},
            "name": {"type": ["string", "null"], "pattern": "^#"},
        },
        "additionalProperties": False,
    }


def test_null_is_no_value_of_an_option_that_may_be_left_out() -> None:
    text, null = {"type": "string"}, {"type": "null"}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "name": {"anyOf": [text, null], "default": None, "description": "x"},
            "names": {"anyOf": [text, {"type": "integer"}, null], "default": None},
            "note": {"anyOf": [text, null], "default": "", "description": "null removes it"},
            "must": {"anyOf": [text, null]},
        },
    }
    options = without_null(schema)["properties"]
    assert options["name"] == {"type": "string", "description": "x"}
    assert options["names"] == {"anyOf": [text, {"type": "integer"}]}
    assert options["note"] == schema["properties"]["note"]
    assert options["must"] == schema["properties"]["must"]


def test_keys_with_a_pattern_are_an_ordinary_map() -> None:
    schema = {"type": "object", "patternProperties": {"^[A-Z]+$": {"type": "integer"}}}
    assert clean_schema(schema) == {
        "type": "object",
        "propertyNames": {"type": "string", "pattern": "^[A-Z]+$"},
        "additionalProperties": {"type": "integer"},
    }


def test_types_of_the_same_name_are_told_apart() -> None:
    registry = SchemaRegistry({"Login": {"type": "object"}})

    def returned(*qualifiers: str, **definitions: Any) -> Any:
        schema = {"$ref": "#/$defs/Node", "$defs": definitions}
        return registry.without_definitions(schema, *qualifiers)["$ref"]

    gpu, core = {"type": "integer"}, {"type": "string"}
    node = {"properties": {"part": {"$ref": "#/$defs/Part"}}}
    assert returned("slurm", "nodes", Node=node, Part=gpu) == reference("Node")["$ref"]
    assert returned("slurm", "jobs", Node=node, Part=gpu) == reference("Node")["$ref"]
    # The same text, but it refers to another type.
    assert returned("slurm", "parts", Node=node, Part=core) == reference("slurm_Node")["$ref"]
    assert returned("slurm", "parts", Node=gpu) == reference("slurm_parts_Node")["$ref"]
    assert returned("slurm", "parts", Node=core) == reference("slurm_parts_Node_2")["$ref"]
    part = registry.schemas["slurm_Node"]["properties"]["part"]
    assert part == reference("slurm_Part")
    login = {"$ref": "#/$defs/Login", "$defs": {"Login": gpu}}
    assert registry.without_definitions(login, "auth")["$ref"] == reference("auth_Login")["$ref"]


def test_a_default_of_an_option_is_said_in_words() -> None:
    schemas: dict[str, Any] = {
        "options": {
            "properties": {
                "mode": {"type": "string", "default": "product", "description": "how"},
                "wait": {"type": "number", "default": 5, "description": "How long."},
                "names": {"type": "array", "default": ["*"]},
                "force": {"type": "boolean", "default": False, "description": "or else"},
                "part": reference("part"),
            }
        },
        "part": {"properties": {"step": {"type": "number", "default": 1}}},
        "answer": {"properties": {"state": {"type": "string", "default": "queued"}}},
    }
    describe_defaults(schemas, [reference("options")])
    options = schemas["options"]["properties"]
    assert options["mode"]["description"] == "how; default: `product`"
    assert options["wait"]["description"] == "How long. Default: `5`."
    assert options["names"]["description"] == 'default: `["*"]`'
    assert options["force"] == {"type": "boolean", "description": "or else"}
    assert schemas["part"]["properties"]["step"]["description"] == "default: `1`"
    assert not any("default" in option for option in options.values())
    assert schemas["answer"]["properties"]["state"]["default"] == "queued"
