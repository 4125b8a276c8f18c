"""Bodies: JSON or form fields, within limits, each refusal named."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, NewType, TypeVar
from urllib.parse import quote, urlencode

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from api.http.body import (
    MAX_BODY_BYTES,
    MAX_BODY_DEPTH,
    MAX_MEMBERS,
    MAX_VALUES,
    parse_form,
    read_options,
)
from api.http.errors import error_response
from resop.actions.options import check_options
from resop.errors import (
    BodyTooLarge,
    BodyTruncated,
    InvalidOptions,
    UnsupportedBody,
    UnsupportedEncoding,
)
from resop.types import Alias

FORM = "application/x-www-form-urlencoded"
Item = TypeVar("Item")
Names = TypeAliasType("Names", list[str])
ListOf = TypeAliasType("ListOf", list[Item], type_params=(Item,))
NewNames = NewType("NewNames", list[str])


class Model(BaseModel):
    """Options of an action."""

    text: str = ""
    names: list[str] | None = None
    either: str | list[str] | None = None
    needed: str


async def read(
    body: bytes, kind: str | None = "application/json", model: type[BaseModel] = Model
) -> dict[str, Any]:
    async def parts() -> AsyncIterator[bytes]:
        for begin in range(0, len(body), 60_000):
            yield body[begin : begin + 60_000]

    sent = parts()

    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": await anext(sent), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"content-type", kind.encode())] if kind else []
    return await read_options(Request({"type": "http", "headers": headers}, receive), model)


@pytest.mark.parametrize("kind", ["application/json", None, "application/vnd.site+json"])
async def test_json_gives_its_members(kind: str | None) -> None:
    assert await read(b'{"text": "a\\u00fc", "names": ["b"]}', kind) == {
        "text": "aü",
        "names": ["b"],
    }


@pytest.mark.parametrize("body", [b"", b"  \n"])
async def test_an_empty_body_gives_no_options(body: bytes) -> None:
    assert await read(body, None) == {}


@pytest.mark.parametrize(
    ("form", "options"),
    [
        (b"text=a+b%26&needed=1", {"text": "a b&", "needed": "1"}),
        (b"names=one", {"names": ["one"]}),
        (b"names=one&names=two", {"names": ["one", "two"]}),
        (b"either=one", {"either": "one"}),
        (b"either=one&either=two", {"either": ["one", "two"]}),
        (b"text=&needed=", {"needed": ""}),
        ("text=ü".encode(), {"text": "ü"}),
    ],
)
async def test_form_fields_become_options(form: bytes, options: dict[str, Any]) -> None:
    assert await read(form, FORM) == options


class Flags(BaseModel):
    """Options that are true or false, and one that may also have a value."""

    lock: bool = False
    all: Annotated[bool | None, Field(description="three states")] = None
    either: Annotated[str, Field(min_length=1)] | bool | None = None
    verbose: list[bool] = []
    number: int | None = None
    old_name: Annotated[str | None, Alias("name")] = None


async def test_a_flag_without_a_value_is_true_in_a_form_and_in_json() -> None:
    bodies = [b"lock=", b"lock=true", b"lock=on", b"lock=1", b"all=", b"number=&lock="]
    for body in bodies:
        given = check_options(Flags, await read(body, FORM, Flags)).model_dump(exclude_unset=True)
        assert list(given.values()) == [True], body
    for json in (b'{"lock": ""}', b'{"lock": true}', b'{"lock": "true"}', b'{"all": ""}'):
        given = check_options(Flags, await read(json, model=Flags)).model_dump(exclude_unset=True)
        assert list(given.values()) == [True], json
    assert await read(b"either=&verbose=", FORM, Flags) == {"either": "", "verbose": [""]}
    for body in (b"lock=&lock=", b"lock=maybe"):
        with pytest.raises(InvalidOptions, match="lock: must be true or false"):
            check_options(Flags, await read(body, FORM, Flags))


async def test_an_alias_of_an_option_and_a_dash_mean_the_option() -> None:
    for form in (b"name=a", b"old_name=a", b"old-name=a"):
        assert check_options(Flags, await read(form, FORM, Flags)) == Flags(old_name="a"), form
    with pytest.raises(InvalidOptions, match="'name' and as 'old-name'"):
        check_options(Flags, await read(b'{"name": "a", "old-name": "b"}', model=Flags))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[1]", "application/json"),
        (b'"text"', "application/json"),
        (b"{", "application/json"),
        (b'{"a": NaN}', "application/json"),
        (b'{"a": "\xff"}', "application/json"),
        (b'{"a": "\\ud800"}', "application/json"),
        (
            b'{"a": ' + b"[" * (MAX_BODY_DEPTH + 1) + b"]" * (MAX_BODY_DEPTH + 1) + b"}",
            "application/json",
        ),
        (b"[" * 100_000, "application/json"),
        (b"{" + b",".join(b'"k%d": 1' % n for n in range(201)) + b"}", "application/json"),
        (b"a=%ff", FORM),
        (b"a=\xff", FORM),
        (b"no-equals-sign", FORM),
        (b"a=1&" * 3000, FORM),
    ],
)
async def test_what_gives_no_options_is_refused_by_name(body: bytes, kind: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        await read(body, kind)
    assert [fault["field"] for fault in refused.value.details["faults"]] == ["body"]


async def test_a_body_over_the_limit_is_refused_before_it_is_read_to_its_end() -> None:
    assert await read(b'{"text": "' + b"x" * (MAX_BODY_BYTES - 12) + b'"}')
    with pytest.raises(BodyTooLarge):
        await read(b'{"text": "' + b"x" * MAX_BODY_BYTES + b'"}')


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x"])
async def test_another_kind_of_body_is_refused_by_its_name(kind: str) -> None:
    with pytest.raises(UnsupportedBody, match=kind.partition(";")[0]):
        await read(b"a=1", kind)


class Listing(BaseModel):
    """Lists as options declare them."""

    plain: list[str] = []
    optional: list[int] | None = None
    bounded: Annotated[list[str], Field(max_length=3)] | None = None
    alias: Names | None = None
    generic: ListOf[int] | None = None
    distinct: NewNames = NewNames([])
    unique: frozenset[str] = frozenset()
    ordered: tuple[str, ...] | None = None
    abstract: Annotated[Sequence[Annotated[str, Field(min_length=1)]] | None, Field()] = None
    text: str | list[str] = ""


async def test_one_value_of_a_form_field_for_a_list_is_a_list() -> None:
    for name in set(Listing.model_fields) - {"text"}:
        options = await read(f"{name}=37".encode(), FORM, Listing)
        assert options == {name: ["37"]}, name
        assert len(getattr(check_options(Listing, options), name)) == 1


async def test_one_value_of_a_form_field_for_a_text_or_a_list_is_a_text() -> None:
    assert await read(b"text=37", FORM, Listing) == {"text": "37"}


async def test_a_byte_order_mark_before_json_is_ignored() -> None:
    assert await read(b'\xef\xbb\xbf{"text": "a"}') == {"text": "a"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"text": "a", "text": "b"}', "text"),
        (b'{"names": [{"a": 1, "\\u0061": 2}]}', "a"),
        (b'{"text": 1, "text": 1, ' + b'"x": "' + b"y" * 100_000 + b'"}', "text"),
    ],
)
async def test_a_name_that_is_given_twice_is_refused(body: bytes, field: str) -> None:
    with pytest.raises(InvalidOptions, match="is given more than once") as refused:
        await read(body)
    assert refused.value.details["faults"][0]["field"] == field


@pytest.mark.parametrize("encoding", ["gzip", "deflate, gzip", "br", "x"])
@pytest.mark.parametrize("kind", ["application/json", FORM])
async def test_an_encoded_body_is_refused_by_its_encoding(encoding: str, kind: str) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-encoding", encoding.encode())]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"\x1f\x8b", "more_body": False}

    with pytest.raises(UnsupportedEncoding, match="Content-Encoding") as refused:
        await read_options(Request({"type": "http", "headers": headers}, receive), Model)
    answer = error_response(refused.value)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")


async def test_json_that_is_not_utf_8_is_refused_by_its_name() -> None:
    text = '{"text": "a"}'
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        with pytest.raises(InvalidOptions, match="is UTF-16 or UTF-32: send JSON as UTF-8"):
            await read(text.encode(encoding))


async def test_a_body_that_breaks_off_is_reported() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(BodyTruncated):
        await read_options(Request({"type": "http", "headers": []}, receive), Model)


async def test_an_object_with_too_many_members_is_refused() -> None:
    members = ",".join(f'"{number}": 1' for number in range(MAX_MEMBERS + 1))
    with pytest.raises(InvalidOptions, match=f"with {MAX_MEMBERS + 1} members"):
        await read(f'{{"names": [{{{members}}}]}}'.encode())


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (1 << 20),
        b'{"a":' * 200_000,
        b'{"text": ' + b"9" * 1_000_000 + b"}",
        b'{"text": 1e' + b"9" * 1_000_000 + b"}",
        b'{"text": "' + b"\\" * 1_000_000 + b'"}',
        b'{"text": NaN}',
        b'{"text": -Infinity}',
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\x00" * 1000,
        '{"text": "a"}'.encode("utf-16"),
        '{"text": "a"}'.encode("utf-32-le"),
    ],
)
async def test_json_that_python_would_choke_on_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidOptions):
        check_options(Model, await read(body))


async def test_other_tasks_run_while_a_long_body_is_parsed() -> None:
    body = b'{"names": [' + b",".join([b'{"a": []}'] * 30_000) + b"]}"
    reading, turns = asyncio.create_task(read(body)), 0
    while not reading.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert len((await reading)["names"]) == 30_000
    assert turns > 3


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text("aä%+& =", max_size=9),
        min_size=1,
    )
)
def test_form_fields_are_those_that_urlencode_writes(fields: dict[str, str]) -> None:
    assert dict(parse_form(urlencode(fields).encode())) == fields


@pytest.mark.parametrize("offset", range(4))
def test_escapes_across_the_slices_of_a_long_field_are_decoded(offset: int) -> None:
    text = "x" * offset + "ä%" * 100_000
    assert parse_form(f"a={quote(text)}".encode()) == [("a", text)]
    assert parse_form(b"a=%" + b"x" * 100_000) == [("a", "%" + "x" * 100_000)]


async def test_too_many_values_are_refused_but_not_signs_in_texts() -> None:
    with pytest.raises(InvalidOptions, match=f"more than {MAX_VALUES} values"):
        await read(b'{"names": [' + b"1," * MAX_VALUES + b"1]}")
    text = ',[{\\"' * 100_000
    assert await read(f'{{"text": "{text}"}}'.encode()) == {"text": text.replace("\\", "")}
