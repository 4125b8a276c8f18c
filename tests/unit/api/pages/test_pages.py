"""Forms: made from any action's options, read back to the same; whatever is shown is escaped."""

import json
import re
from typing import Annotated, Any, Literal
from urllib.parse import quote

import pytest
from fastapi import Request, Response
from pydantic import Field
from starlette.datastructures import Headers

from api.http.root_path import set_root_path
from api.pages.browser_session import (
    check_csrf_token,
    cookie_of,
    csrf_token,
    next_url,
    set_session_cookie,
)
from api.pages.form_data import read_form, read_table_form
from api.pages.form_fields import FormData, fields_of, form_for, options_in
from api.pages.forms import _code_sentence
from api.pages.rendering import page
from api.pages.table_form import _sentences
from resop import Secret, Shell, operation
from resop.actions.catalog import Action, load_catalog
from resop.actions.command import Command, CommandEntry, OptionEntry
from resop.actions.options import check_options
from resop.errors import (
    BodyTooLarge,
    CsrfFailed,
    InvalidOptions,
    OtpRequired,
    UnsupportedBody,
)

CATALOG = list(load_catalog())
FORM = "application/x-www-form-urlencoded"


@operation
def every(
    shell: Shell,
    name: str,
    script: Annotated[str, Field(pattern="^#!")],
    count: Annotated[int, Field(ge=1, le=9)] = 3,
    share: float | None = None,
    level: Literal[1, 2, 3] | None = None,
    kinds: list[Literal["cpu", "gpu"]] | None = None,
    names: list[str] | None = None,
    loud: bool = True,
    quiet: bool = False,
    sure: bool | None = None,
    rows: list[dict[str, Any]] | None = None,
    password: Secret | None = None,
    keys: list[Secret] | None = None,
    vault: dict[str, Secret] | None = None,
) -> None:
    """One option of every kind."""


FIELDS = {field.name: field for field in fields_of(every)}
NEEDED = [("name", "ada"), ("script", "#!/bin/sh")]


def read(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Return the options of a form with these fields and the required ones."""
    sent = FormData([*NEEDED, ("loud", "true"), *pairs])
    given = options_in(FIELDS.values(), sent)
    return {name: value for name, value in given.items() if name not in ("name", "script")}


def meaning(action: Action, options: dict[str, Any]) -> object:
    """Return the effect of options: a list and a quoted text may be the same arguments."""
    checked = check_options(action.options, options)
    return action.invocation(checked) if isinstance(action, Command) else checked.model_dump()


def request(body: bytes = b"", kind: str = FORM, cookie: str = "", query: bytes = b"") -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    headers = Headers({"content-type": kind, "cookie": f"resop={cookie}"}).raw
    scope = {"type": "http", "headers": headers, "query_string": query}
    return Request({**scope, "scheme": "http", "path": "/", "server": ("x", 80)}, receive)


def test_every_shipped_action_has_a_form_that_gives_its_examples_back() -> None:
    for action in CATALOG:
        fields = fields_of(action)
        assert len({field.id for field in fields}) == len(fields), action.title
        for example in [*action.examples, {}]:
            secret = {field.name for field in fields if field.secret}
            if not example and any(field.required for field in fields):
                continue
            sent = form_for(fields, example)
            back = options_in(fields, sent) | {k: v for k, v in example.items() if k in secret}
            assert meaning(action, back) == meaning(action, example), action.title


@pytest.mark.parametrize(
    ("name", "box"),
    {
        "name": "text",
        "script": "area",
        "count": "number",
        "share": "number",
        "level": "choice",
        "kinds": "choices",
        "names": "lines",
        "loud": "check",
        "quiet": "check",
        "sure": "choice",
        "rows": "json",
        "password": "secret",
        "keys": "lines",
        "vault": "json",
    }.items(),
)
def test_each_kind_of_option_is_asked_for_in_its_way(name: str, box: str) -> None:
    assert FIELDS[name].box == box


def test_required_options_come_first_and_limits_reach_the_browser() -> None:
    assert [field.name for field in FIELDS.values()][:2] == ["name", "script"]
    assert FIELDS["count"].limits == {"min": 1, "max": 9}
    assert FIELDS["share"].limits == {"step": "any"}


@pytest.mark.parametrize(
    ("pairs", "options"),
    [
        ([], {}),
        ([("count", ""), ("share", ""), ("level", ""), ("names", " \n"), ("rows", "")], {}),
        ([("count", "5"), ("share", "0.5")], {"count": "5", "share": "0.5"}),
        ([("level", "2"), ("sure", "false")], {"level": 2, "sure": False}),
        ([("level", "7")], {"level": "7"}),
        ([("kinds", "cpu"), ("kinds", "gpu")], {"kinds": ["cpu", "gpu"]}),
        ([("names", "a b\n\nc, d\n")], {"names": ["a b", "c, d"]}),
        ([("quiet", "true")], {"quiet": True}),
        ([("rows", '[{"a": 1}]')], {"rows": [{"a": 1}]}),
        ([("keys", "one\ntwo")], {"keys": ["one", "two"]}),
        ([("undeclared", "x"), (":guard", "y")], {"undeclared": "x"}),
    ],
)
def test_form_is_read_as_the_options_it_stands_for(
    pairs: list[tuple[str, str]], options: dict[str, Any]
) -> None:
    assert read(*pairs) == options


def test_check_box_that_is_ticked_by_default_can_be_left_out() -> None:
    assert options_in(FIELDS.values(), FormData(NEEDED))["loud"] is False


def test_broken_json_is_a_fault_of_its_field() -> None:
    for text in ("{", "[" * 100_000, "nonsense"):
        with pytest.raises(InvalidOptions) as caught:
            read(("rows", text))
        [fault] = caught.value.details["faults"]
        assert fault["field"] == "rows" and "is not valid JSON" in fault["message"]


def test_secrets_are_never_written_into_a_form() -> None:
    hidden = {"password": "s3cret", "keys": ["s3cret"], "vault": {"a": "s3cret"}}
    sent = form_for(FIELDS.values(), {**hidden, "name": "ada"})
    assert "s3cret" not in str(sent) and sent["name"] == "ada"
    assert {field.name for field in FIELDS.values() if field.secret} == set(hidden)


def test_option_in_the_plain_form_takes_a_text_or_stands_alone() -> None:
    options = {
        "plain": OptionEntry(flag="--plain"),
        "hidden": OptionEntry(flag="--hidden", form=False),
    }
    command = Command("site", CommandEntry(command="x", options=options))
    fields = fields_of(command)
    assert [field.name for field in fields] == ["input", "plain", "stdin"]
    assert options_in(fields, FormData([("plain", "a b")])) == {"plain": "a b"}
    alone = FormData([("plain", ""), (":alone", "plain")])
    assert options_in(fields, alone) == {"plain": True}
    assert form_for(fields, {"plain": True}).multi_items() == [(":alone", "plain")]
    assert form_for(fields, {"input": ["a b", "c"]})["input"] == "'a b' c"


@pytest.mark.parametrize(
    "onward",
    [
        "",
        "x",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "https://evil.example/pages/",
        "javascript:alert(1)",
        "/pages/\r\nSet-Cookie: a=b",
        " /pages/tasks",
        "/\u2028",
    ],
)
def test_login_goes_on_to_no_other_site(onward: str) -> None:
    assert next_url(request(query=f"next={quote(onward)}".encode())) == "/pages/"


def test_login_goes_on_to_the_page_that_was_asked_for() -> None:
    query = b"next=%2Fslurm%2Fcmd%2Fsqueue%2Fsubmit%3Fagain%3D1"
    assert next_url(request(query=query)) == "/slurm/cmd/squeue/submit?again=1"


@pytest.mark.parametrize(
    ("scheme", "forwarded", "secure"),
    [
        ("http", None, False),
        ("http", "http", False),
        ("http", "HTTPS, http", True),  # of a proxy, whether TRUSTED_PROXIES names it or not
        ("https", None, True),
        ("https", "http", True),
    ],
)
def test_cookie_is_secure_wherever_the_browser_uses_https(
    scheme: str, forwarded: str | None, secure: bool
) -> None:
    headers = {"cookie": "__Host-resop=of-https; resop=of-http"}
    if forwarded is not None:
        headers["x-forwarded-proto"] = forwarded
    scope = {"type": "http", "scheme": scheme, "headers": Headers(headers).raw}
    asked = Request({**scope, "path": "/", "query_string": b"", "server": ("x", 80)})
    assert cookie_of(asked) == ("of-https" if secure else "of-http")
    answer = Response()
    set_session_cookie(asked, answer, "text")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-resop=" if secure else "resop=")
    assert ("; Secure" in cookie) is secure


def test_service_below_a_path_has_a_cookie_and_addresses_of_its_own() -> None:
    for scheme, start, path in (
        ("http", "resop.hpc.resop=text; ", "; Path=/hpc/resop;"),
        ("https", "__Host-resop.hpc.resop=text; ", "; Path=/;"),
    ):
        scope = {"type": "http", "scheme": scheme, "path": "/", "query_string": b""}
        asked = Request({**scope, "headers": [], "server": ("x", 80)})
        set_root_path(asked.scope, "/hpc/resop")
        answer = Response()
        set_session_cookie(asked, answer, "text")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(start) and path in cookie, cookie
    for onward, expected in {
        "/pages/tasks": "/pages/tasks",
        "/hpc/resop/pages/tasks": "/pages/tasks",
        "/hpc/resop//evil.example": "/pages/",
    }.items():
        asked = request(query=f"next={quote(onward, safe='')}".encode())
        set_root_path(asked.scope, "/hpc/resop")
        assert next_url(asked) == expected


def test_guard_belongs_to_one_cookie() -> None:
    check_csrf_token(request(cookie="mine"), csrf_token("mine"))
    for cookie, shown in [
        ("mine", csrf_token("other")),
        ("mine", ""),
        ("mine", "\u00e9"),
        ("", csrf_token("")),
    ]:
        with pytest.raises(CsrfFailed):
            check_csrf_token(request(cookie=cookie), shown)


def multipart(*parts: tuple[str, bytes]) -> tuple[bytes, str]:
    body = b"".join(
        b"--x\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), content)
        for head, content in parts
    )
    return body + b"--x--\r\n", "multipart/form-data; boundary=x"


async def test_file_stands_in_place_of_the_text_and_keeps_its_lines() -> None:
    sent = await read_form(
        request(
            *multipart(
                ('name="script"', b"typed\r\ntext"),
                ('name="script"; filename="a.sh"', b"#!/bin/sh\r\n\xc3\xbc"),
                ('name="stdin"', b"one\r\ntwo"),
                ('name="stdin"; filename=""', b""),
            )
        )
    )
    assert sent.multi_items() == [("stdin", "one\ntwo"), ("script", "#!/bin/sh\r\nü")]


async def test_table_is_read_as_it_is_and_its_type_by_its_name() -> None:
    guard = ('name=":guard"', b"g")
    for name, said, kind in (
        ("p.csv", "text/csv", "text/csv"),
        ("p.txt", "application/octet-stream", "text/csv"),
        ("P.JSONL", "application/octet-stream", "application/x-ndjson"),
        ("p.tsv", "text/tab-separated-values", "text/tab-separated-values"),
    ):
        head = f'name=":table"; filename="{name}"\r\nContent-Type: {said}'
        sent = await read_table_form(request(*multipart(guard, (head, b"a\r\n\xff"))))
        assert (sent.content, sent.kind, sent.fields[":guard"]) == (b"a\r\n\xff", kind, "g"), name
    without = await read_table_form(request(*multipart(guard, ('name=":table"; filename=""', b""))))
    assert without.content == b""
    with pytest.raises(UnsupportedBody):
        await read_table_form(request(b"a=1"))
    fault = InvalidOptions.of("line 2, mail", "is bad")
    fault.details["more_faults"] = 7
    assert _sentences(fault) == ["line 2, mail: is bad", "and 7 more"]
    assert _sentences(BodyTooLarge("the body is too large")) == ["The body is too large"]


async def test_text_box_is_read_without_carriage_returns() -> None:
    assert (await read_form(request(b"script=a%0D%0Ab")))["script"] == "a\nb"
    assert len(await read_form(request())) == 0


@pytest.mark.parametrize(
    ("body", "kind", "fault"),
    [
        (b"a=%ff", FORM, InvalidOptions),
        (b"{}", "application/json", UnsupportedBody),
        (b"x" * (1 << 21), FORM, BodyTooLarge),
        (b"x", "multipart/form-data", InvalidOptions),
        (b"nonsense", "multipart/form-data; boundary=x", InvalidOptions),
        (*multipart(('name="script"; filename="a"', b"\xff\xfe")), InvalidOptions),
        (*multipart(*[('name="a"', b"1")] * 2000), InvalidOptions),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_what_is_no_form_is_refused(body: bytes, kind: str, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        await read_form(request(body, kind))


async def shown(output: Any, **others: Any) -> str:
    """Return the page of a task that answered `output`."""
    task = {
        "task": "1",
        "action": "core:run",
        "state": "succeeded",
        "success": True,
        "approval": None,
        "options": {},
        "tags": [],
        "created_at": "2026-01-02T03:04:05Z",
        "seconds": 1.0,
        "error": None,
        "progress": None,
        "output": output,
        "steps": [],
        **others,
    }
    answer = await page("task.html", task=task, action=None, user=None, guard="", root="")
    return bytes(answer.body).decode()


async def test_whatever_is_shown_is_escaped() -> None:
    bad = "<script>alert('x')</script>\"'\n</pre><b>"
    html = await shown(
        [{bad: bad, "list": [bad], "deep": [[[{bad: bad}]]]}],
        command=bad,
        stderr=bad,
        log=[bad],
        options={bad: bad},
        tags=[bad],
        error={"type": bad, "message": bad, "step": {bad: bad}, "undone": [bad]},
        state=bad,
        steps=[
            {"command": bad, "stdout": bad, "stderr": bad, "error": bad, "undo": True}
            | {"exit_code": 1, "seconds": 1.0, "truncated": True}
        ],
    )
    assert "<script" not in html and "<b>" not in html and "&lt;script&gt;" in html
    assert html.count("</pre>") == html.count("<pre")


async def test_list_of_objects_is_a_table_with_all_their_keys() -> None:
    html = await shown([{"node": "n1", "cpus": 4}, {"node": "n2", "gpus": ["a", "b"]}])
    assert re.findall(r'<th scope="col"[^>]*>(\w+)</th>', html) == ["node", "cpus", "gpus"]
    assert html.count("<tr>") == 3 and "a, b" in html


@pytest.mark.parametrize(
    "output",
    [None, "", "text", "a\nb", 0, -1.5, True, [], {}, [[]], [{}], [None], {"items": {"keys": 1}}],
    ids=repr,
)
async def test_any_json_can_be_shown(output: Any) -> None:
    assert '<h2 id="output">' in await shown(output) or output is None


async def test_deep_json_is_shown_as_json() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"a": [deep]}
    assert json.dumps("a") in (await shown(deep)).replace("&#34;", '"')


async def test_pages_run_nothing_and_load_nothing_from_elsewhere() -> None:
    answer = await page("refused.html", 404, title="x", message="no such page", user=None, root="")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    html = bytes(answer.body).decode()
    assert not re.search(r"https?://|<script|<style| style=| on\w+=", html)


def test_the_login_form_asks_for_the_code_in_the_words_of_the_cluster() -> None:
    asked = "This cluster requires a one-time code. Enter it here."
    assert _code_sentence(OtpRequired()) == asked
    menu = OtpRequired("… send it as 'otp'", prompt="1. Push 2. Call")
    assert _code_sentence(menu) == f'{asked} The cluster says: "1. Push 2. Call"'
    another = OtpRequired("hpc asks for the next code as well")
    assert _code_sentence(another) == "Hpc asks for the next code as well"
