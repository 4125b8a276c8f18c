"""No input of the OpenAPI document is expensive: a megabyte of the worst, in every field.

For each request, the processor time of the API's event loop and of all its threads is measured,
and the peak of its memory; a busy machine changes none of them.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.acceptance.conftest import only_embedded
from tests.support.openapi import parameters
from tests.support.process_meter import Cost, ProcessMeter
from tests.support.service import Caller, Embedded

pytestmark = [only_embedded, pytest.mark.timeout(1500), pytest.mark.slow]

MANY = (1 << 20) - 2000
LOOP_SECONDS = 0.1
ALL_SECONDS = 2.0
PEAK_BYTES = 32 << 20

TEXTS = {
    "quotes": "'",
    "backslashes": "\\",
    "double quotes": '"',
    "letters": "a",
    "words": "a ",
    "digits": "9",
    "brackets": "[",
    "closed brackets": "[a]",
    "parentheses": "((a))",
    "combining": "\u0301",
    "wide": "\U0001f600",
    "NULs": "\0",
    "lines": "\n",
    "comments": "#\n",
    "CR LF": "\r\n",
    "globs": "*a",
    "templates": "{{a}}",
    "braces": "{",
    "commas": "a,",
    "colons": "a:",
    "equals": "a=",
    "slashes": "a/",
    "dots": "../",
    "script": "#!/bin/sh\n",
}
"""Each is repeated up to the whole size; JSON escapes count."""


class Finding(NamedTuple):
    """A request that is too expensive, or that the service fails to handle."""

    what: str
    status: int
    cost: Cost


class Prober:
    """Sends requests, and collects the expensive ones."""

    def __init__(self, caller: Caller, pid: int) -> None:
        self.http = caller.http
        self._meter = ProcessMeter(pid)
        self.findings: list[Finding] = []
        self.requests = 0

    def send(self, what: str, method: str, url: str, **request: Any) -> int:
        """Send a request; return the status, or 0 if the connection was closed."""
        self._meter.start()
        try:
            status = self.http.request(method, url, **request).status_code
        except httpx.TransportError:
            status = 0
        self._judge(what, status)
        return status

    def _judge(self, what: str, status: int) -> None:
        cost = self._meter.cost()
        self.requests += 1
        too_much = (
            cost.loop_seconds > LOOP_SECONDS
            or cost.all_seconds > ALL_SECONDS
            or cost.peak_bytes > PEAK_BYTES
        )
        if too_much or status >= 500:
            self.findings.append(Finding(what, status, cost))

    def check(self) -> None:
        """Fail with everything that was too expensive."""
        assert self.requests > 10
        assert not self.findings, "\n".join(
            f"{each.what}: {each.status}, loop {each.cost.loop_seconds * 1e3:.0f} ms, "
            f"all {each.cost.all_seconds * 1e3:.0f} ms, {each.cost.peak_bytes >> 20} MiB"
            for each in self.findings
        )


@pytest.fixture
def prober(service: Embedded, alice: Caller) -> Prober:
    """Return a prober of the API process; the first requests load what is loaded lazily."""
    assert service.supervisor is not None
    children = Path(f"/proc/{service.supervisor.pid}/task/{service.supervisor.pid}/children")
    [pid] = [
        int(pid)
        for pid in children.read_text().split()
        if "api.main" in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    for _ in range(3):
        alice.http.post("/core/opn/run", content=b'{"command": "' + b"x" * MANY + b'"}')
    return Prober(alice, pid)


@functools.cache
def long_text(piece: str) -> str:
    """Return the piece repeated so that it fills a body as JSON."""
    size = len(json.dumps(piece, ensure_ascii=False).encode()) - 2
    return piece * (MANY // size)


class Json(NamedTuple):
    """A value as JSON, which is sent as it is."""

    text: str


@functools.cache
def any_values() -> dict[str, Json]:
    """Return the worst texts and numbers, which every field is worth trying with."""
    texts = {name: Json(_json(long_text(piece))) for name, piece in TEXTS.items()}
    return {**texts, "digits of a number": Json("9" * MANY)}  # Python could not write it


@functools.cache
def list_values() -> dict[str, Json]:
    """Return the worst lists."""
    lists: dict[str, list[Any]] = {
        "null items": [None] * (MANY // 5),
        "text items": ["aaaa"] * (MANY // 8),
        "number items": [1] * (MANY // 3),
        "list items": [[]] * (MANY // 4),
        "object items": [{}] * (MANY // 4),
        "pair items": [{"a": 1}] * (MANY // 10),
    }
    return {name: Json(_json(items)) for name, items in lists.items()}


@functools.cache
def object_values() -> dict[str, Json]:
    """Return the worst objects."""
    return {
        "members": Json(_json({f"a{number}": 1 for number in range(1000)})),
        "list members": Json(_json({f"a{number}": [None] * 200 for number in range(999)})),
    }


def worst_values(kind: str) -> dict[str, Json]:
    """Return the worst values that a field with this schema is worth trying with."""
    lists = list_values() if '"array"' in kind else {}
    return {**any_values(), **lists, **(object_values() if '"object"' in kind else {})}


def resolved(schema: Any, document: Mapping[str, Any], depth: int = 4) -> Any:
    if isinstance(schema, Mapping):
        if "$ref" in schema and depth:
            found: Any = document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            return resolved(found, document, depth - 1)
        return {name: resolved(each, document, depth) for name, each in schema.items()}
    if isinstance(schema, list):
        return [resolved(each, document, depth) for each in schema]
    return schema


def encoded(options: Mapping[str, Any]) -> bytes:
    members = [
        f"{json.dumps(name)}:" + (value.text if isinstance(value, Json) else _json(value))
        for name, value in options.items()
    ]
    return f"{{{','.join(members)}}}".encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def actions(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], dict[str, Any]]]:
    """Yield path, properties and an example of each operation with a JSON body."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if method == "post" and "application/json" in content:
                body = content["application/json"]
                schema = resolved(body["schema"], document, 1)
                examples = [each.get("value", {}) for each in body.get("examples", {}).values()]
                example = examples[0] if examples else {}
                yield path, schema.get("properties", {}), body.get("example", example)


PREVIEWED = ("/slurm/opn/sweep", "/slurm/opn/submit")
"""Operations that the API itself runs up to their first step."""
PARTS_WITHOUT_COST = (
    *("description", "title", "default", "examples", "enum", "const"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)
"""Parts of a schema that make no difference to what a value costs; patterns and formats do."""
LONG_TYPES = ('"string"', '"array"', '"object"')


def costly_parts(schema: Any) -> Any:
    """Return the parts of a schema on which the cost of a value depends."""
    if isinstance(schema, dict):
        return {
            key: costly_parts(each) for key, each in schema.items() if key not in PARTS_WITHOUT_COST
        }
    return list(map(costly_parts, schema)) if isinstance(schema, list) else schema


def test_every_field_of_every_action(prober: Prober) -> None:
    document = prober.http.get("/openapi.json").json()
    seen: set[str] = set()
    turns = itertools.cycle(range(1000))
    for path, properties, example in actions(document):
        for name, schema in properties.items():
            kind = json.dumps(costly_parts(resolved(schema, document)), sort_keys=True)
            is_previewed = path.startswith(PREVIEWED) and any(each in kind for each in LONG_TYPES)
            everything = kind not in seen or is_previewed
            seen.add(kind)
            values = [*worst_values(kind).items()]
            chosen = values if everything else [values[next(turns) % len(values)]]
            for what, value in chosen:
                options = {**example, name: value}
                prober.send(
                    f"{path} {name}: {what}",
                    "POST",
                    f"{path}?dry_run=true",
                    content=encoded(options),
                    headers={"Content-Type": "application/json"},
                )
    prober.check()


HEADERS = (
    *("Range", "Content-Range", "If-Match", "If-None-Match", "If-Range", "If-Modified-Since"),
    *("If-Unmodified-Since", "Content-Digest", "Repr-Digest", "Prefer", "Cache-Control"),
    *("Idempotency-Key", "Last-Event-ID", "Cookie", "X-Request-Id", "X-Forwarded-For"),
    *("Content-Type", "Content-Encoding", "Accept", "Accept-Encoding", "Origin", "Traceparent"),
    *("Authorization", "Upload-Offset", "Content-Disposition", "X-API-Key"),
)
HEADER_PIECES = {
    "quotes": '"',
    "weak tags": 'W/"',
    "tags": '"x",',
    "backslashes": "\\",
    "quoted backslashes": '"\\',
    "octal": "\\1",
    "letters": "a",
    "digits": "9",
    "commas": "a,",
    "semicolons": ";a=",
    "quoted semicolons": '";',
    "equals": "=",
    "digests": "sha-256=:",
    "spaces": "a ",
    "colons": "a:",
    "slashes": "/",
    "addresses": "1.1.1.1, ",
}
HEADER_BEGINNINGS = {
    "Range": "bytes=0-",
    "Content-Range": "bytes 0-",
    "Cookie": "resop=",
    "Authorization": "Bearer ",
    "Content-Type": "multipart/form-data; boundary=",
    "Content-Disposition": "form-data; filename=",
    "Prefer": "wait=",
    "Cache-Control": "max-age=",
    "Last-Event-ID": "running/0/0/",
}
HEADER_SIZES = (MANY, 60_000, 15_000)
"""The service refuses the longest; the others come near its limits, whatever those are."""


def test_every_header(prober: Prober) -> None:
    targets = (
        ("PUT", "/files/cost-test?upload=x"),
        ("GET", "/files/.profile"),
        ("POST", "/core/opn/run?dry_run=true"),
        ("GET", "/tasks/01/events"),
        ("GET", "/pages/tasks"),
    )
    turns = itertools.cycle(targets)
    for name in HEADERS:
        for what, piece in HEADER_PIECES.items():
            method, url = next(turns)
            for size in HEADER_SIZES:
                value = HEADER_BEGINNINGS.get(name, "") + piece * (size // len(piece))
                prober.send(
                    f"{method} {url} {name}: {size} of {what}", method, url, headers={name: value}
                )
    prober.check()


def test_every_query_and_path(prober: Prober) -> None:
    document = prober.http.get("/openapi.json").json()
    pieces = itertools.cycle(
        ["a", "9", "%00", "[", "*a", "%25", "..%2F", "a&x=", "+", "%F0%9F%98%80"]
    )
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            shown = parameters(document, operation)
            if any(each["name"] == "dry_run" for each in shown):
                continue  # the same for all actions; one of them is below
            for parameter in shown:
                for size in HEADER_SIZES[1:]:
                    piece = next(pieces)
                    value = piece * (size // len(piece))
                    url = path
                    if parameter["in"] == "path":
                        url = path.replace(f"{{{parameter['name']}}}", value)
                    if parameter["in"] == "query":
                        url = f"{path}?{parameter['name']}={value}"
                    prober.send(f"{method} {path} {parameter['name']}: {piece}", method, url)
    for name in ("dry_run", "tag", "timeout", "notify", "fresh", "unknown"):
        for piece in ("a", "9", "%00", f"a&{name}=", "https://a.", "[", "a."):
            value = piece * (15_000 // len(piece))
            prober.send(f"{name}: {piece}", "POST", f"/core/opn/run?dry_run=true&{name}={value}")
    prober.check()


BODIES = {
    "open lists": b"[" * MANY,
    "open objects": b'{"a":' * (MANY // 5),
    "lists in lists": b'{"command": [' + b"[],".join([b""] * (MANY // 3)) + b"[]]}",
    "the same name": b'{"command":1,' + b'"a":1,' * (MANY // 6) + b'"b":1}',
    "many names": b"{" + b",".join(b'"%d":1' % number for number in range(80_000)) + b"}",
    "digits": b'{"command":' + b"9" * MANY + b"}",
    "many numbers": b'{"command":[' + b"9" * 4000 + (b"," + b"9" * 4000) * 250 + b"]}",
    "an exponent": b'{"timeout":1e' + b"9" * MANY + b"}",
    "a fraction": b'{"timeout":0.' + b"9" * MANY + b"}",
    "escapes": b'{"command":"' + b"\\u0027" * (MANY // 6) + b'"}',
    "surrogates": b'{"command":"' + b"\\ud83d\\ude00" * (MANY // 12) + b'"}',
    "spaces": b" " * MANY,
    "NULs": b"\0" * MANY,
    "not UTF-8": b'{"command":"' + b"\xff" * MANY + b'"}',
}
FORMS = {
    "empty fields": b"&" * MANY,
    "fields": b"a=1&" * (MANY // 4),
    "escaped": b"command=" + b"%27" * (MANY // 3),
    "half escaped": b"command=" + b"%2" * (MANY // 2),
    "plus signs": b"command=" + b"+" * MANY,
    "equals signs": b"command=" + b"=" * MANY,
    "a long name": b"a" * MANY + b"=1",
    "not UTF-8": b"command=" + b"%ff" * (MANY // 3),
}
BOUNDARY = b"--x\r\n"
PART = BOUNDARY + b'Content-Disposition: form-data; name="command"\r\n\r\n1\r\n'
MULTIPARTS = {
    "parts": PART * (MANY // len(PART)),
    "boundaries": BOUNDARY * (MANY // len(BOUNDARY)),
    "line ends": b"\r\n" * (MANY // 2),
    "half boundaries": BOUNDARY + b"A: b\r\n\r\n" + b"\r\n--" * (MANY // 4),
    "a long header": BOUNDARY + b"Content-Disposition: " + b"a" * MANY,
    "a long name of a header": BOUNDARY + b"a" * MANY,
    "many headers": BOUNDARY + b"a: b\r\n" * (MANY // 6),
    "parameters": BOUNDARY
    + b"Content-Disposition: form-data"
    + b'; a="' * (MANY // 5)
    + b"\r\n\r\n",
}


def test_every_kind_of_body(prober: Prober) -> None:
    kinds = {
        "application/json": BODIES,
        "application/x-www-form-urlencoded": FORMS,
        "multipart/form-data; boundary=x": MULTIPARTS,
    }
    document = prober.http.get("/openapi.json").json()
    paths = ["/core/opn/run", "/auth/opn/login", "/utils/cmd/ls", "/slurm/opn/sweep"]
    paths += [path for path, properties, _ in actions(document) if not properties][:1]
    paths += ["/core/opn/run/batch", "/core/opn/run/submit", "/auth/opn/login/submit"]
    cookie = f"resop={prober.http.headers['Authorization'].removeprefix('Bearer ')}"
    for kind, bodies in kinds.items():
        for what, body in bodies.items():
            for path in paths:
                prober.send(
                    f"{path} {kind}: {what}",
                    "POST",
                    f"{path}?dry_run=true",
                    content=body,
                    headers={"Content-Type": kind, "Cookie": cookie},
                )
        for what, body in bodies.items():
            prober.send(
                f"PUT /files {kind}: {what}",
                "PUT",
                "/files/cost-test",
                content=body,
                headers={"Content-Type": kind},
            )
    prober.check()


def test_tasks_that_run_and_their_labels(prober: Prober) -> None:
    task = ""
    for what, piece in TEXTS.items():
        body = encoded({"command": "true", "stdin": long_text(piece)})
        status = prober.send(
            f"stdin: {what}",
            "POST",
            "/core/opn/run",
            content=body,
            headers={"Content-Type": "application/json", "Idempotency-Key": f"cost {what}"},
        )
        assert status == 200, what
        task = task or prober.http.get("/tasks?limit=1").json()["tasks"][0]["task"]
        for name in ("note", "tags"):
            for value in (long_text(piece), [long_text(piece)], [piece] * 50_000, {piece: piece}):
                prober.send(
                    f"{name}: {what}", "PATCH", f"/tasks/{task}", content=encoded({name: value})
                )
        prober.send(f"tasks after {what}", "GET", "/tasks")
        prober.send(f"task after {what}", "GET", f"/tasks/{task}")
    prober.check()


def sweep_of(values: int, parameters: int = 2) -> dict[str, Any]:
    return {f"p{number}": {"start": 1, "stop": values} for number in range(parameters)}


BATCHES: Mapping[str, Mapping[str, Any]] = {
    "a template in a template": {
        "options": {"command": "{{a}}" * 100_000},
        "sweep": {"a": ["x" * 100_000]},
    },
    "templates in a list": {
        "options": {"command": "echo", "stdin": ["{{a}}"] * 100_000},
        "items": [{"a": ["x"] * 50_000}],
    },
    "long values for many": {
        "options": {"command": "{{a}}{{b}}"},
        "sweep": {"a": ["x" * 100_000] * 9, "b": sweep_of(1000)["p0"]},
    },
    "many parameters": {"options": {"command": "x"}, "sweep": sweep_of(2, 100)},
    "tiny steps": {
        "options": {"command": "{{p0}}"},
        "sweep": {f"p{n}": {"start": 0, "stop": 1e15, "step": 1e-300} for n in range(100)},
    },
    "many items": {"options": {"command": "{{a}}"}, "items": [{"a": 1}] * 100_000},
    "items of nothing": {"options": {"command": "x"}, "items": [{}] * 9000},
    "wrong items": {"options": {"command": "{{a}}"}, "items": [{"b": 1}] * 9000},
    "open templates": {"options": {"command": "{{" * 400_000}, "items": [{"a": 1}]},
    "templates with spaces": {
        "options": {"command": "{{" + " " * 400_000 + "a"},
        "items": [{"a": 1}],
    },
    "unknown names": {
        "options": {"command": "{{a}}"} | {f"x{n}": 1 for n in range(190)},
        "items": [{"a": 1}],
    },
}


def test_every_shape_of_a_batch(prober: Prober) -> None:
    for what, body in BATCHES.items():
        prober.send(
            f"batch: {what}",
            "POST",
            "/core/opn/run/batch?dry_run=true",
            content=encoded(body),
            headers={"Content-Type": "application/json"},
        )
    script = {"script": "#!/bin/sh\n"}
    sweeps: Mapping[str, Mapping[str, Any]] = {
        "long values": {"parameters": {"A": ["x" * 9000] * 100, "B": {"start": 1, "stop": 1000}}},
        "many runs": {"parameters": {"A": {"start": 1, "stop": 100_000}}},
        "many items": {"items": [{"A": 1}] * 100_000},
    }
    for what, options in sweeps.items():
        prober.send(
            f"sweep: {what}",
            "POST",
            "/slurm/opn/sweep?dry_run=true",
            content=encoded({**script, **options}),
            headers={"Content-Type": "application/json"},
        )
    prober.check()
