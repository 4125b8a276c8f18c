"""Run the command line of the client against a made-up service."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx2

NODES = [
    {
        "name": "cn01",
        "status": "IDLE",
        "allocated_cpus": 0,
        "cpus": 8,
        "allocated_memory": 0,
        "memory": 16 << 30,
        "gpus": {"a100": {"total": 4, "allocated": 1, "available": 3}},
        "partitions": ["batch", "gpu"],
        "load": 0.5,
        "reason": None,
        "features": [],
    }
]


def option(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": f"a {kind}", **more}


def action(name: str, options: dict[str, Any], required: list[str], **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": options, "required": required}
    body = {"schema": schema, "examples": {"1": {"value": more.pop("example", {})}}}
    result = {"type": "object", "properties": {"output": more.pop("output", {"type": "string"})}}
    return {
        "post": {
            "summary": name,
            "requestBody": {"content": {"application/json": body}},
            "responses": {"200": {"content": {"application/json": {"schema": result}}}},
            **more,
        }
    }


DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"version": "0.2.0"},
    "tags": [{"name": "site", "description": "the site's own"}],
    "paths": {
        "/site/opn/freeze": action(
            "Freeze a volume",
            {
                "volume": {"$ref": "#/components/schemas/Volume"},
                "mode": {"anyOf": [{"enum": ["soft", "hard"]}, {"type": "null"}]},
                "days": option("integer", default=7),
                "names": {"anyOf": [{"type": "array", "items": {"type": "string"}}]},
                "force": option("boolean", default=False),
                "limits": option("object"),
                "pin": option("string", writeOnly=True),
                "dry_run": option("boolean"),
            },
            ["volume"],
            example={"volume": "v1", "force": True, "names": ["a b"]},
            output={"$ref": "#/components/schemas/Frozen"},
        ),
        "/site/cmd/show": action("Show it", {"long": option("boolean"), "input": {}}, []),
        "/slurm/opn/submit": action(
            "Submit a script",
            {name: option("string") for name in ("script", "path", "time_limit", "job_name")},
            [],
        ),
        "/slurm/opn/sweep": action(
            "Submit a sweep",
            {name: option("string") for name in ("script", "job_name")},
            [],
        ),
        "/tasks": {},
    },
    "components": {
        "schemas": {
            "Volume": {"type": "string", "description": "the volume"},
            "Frozen": {
                "type": "object",
                "required": ["until"],
                "properties": {
                    "until": {"type": "string"},
                    "state": {"enum": ["frozen", "failed"]},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Frozen"}},
                },
            },
        }
    },
}


class Ran(NamedTuple):
    """The outputs and the exit code of a command."""

    out: str
    err: str
    code: int


@dataclass
class CommandLine:
    """The program, with a stored login and a service that answers by path."""

    answers: dict[str, Any]
    requests: list[httpx2.Request]
    run: Callable[..., Ran]

    def bodies(self) -> list[Any]:
        return [json.loads(each.content) for each in self.requests if each.content]
