"""Sweeps: items from lists and ranges, templates filled with them, faults by option name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resop.actions.options import check_options
from resop.actions.sweep import (
    BatchBody,
    NumberRange,
    OptionTemplate,
    batch_items,
    combine_parameters,
    json_size,
)
from resop.errors import InvalidOptions

LIMIT = 1000


def made(body: dict[str, Any]) -> list[dict[str, Any]]:
    checked = check_options(BatchBody, body)
    assert isinstance(checked, BatchBody)
    return list(batch_items(checked, LIMIT))


def faults(body: dict[str, Any]) -> dict[str, str]:
    """Return the faults of a body by field."""
    with pytest.raises(InvalidOptions) as refused:
        made(body)
    return {each["field"]: each["message"] for each in refused.value.details["faults"]}


def test_product_has_each_combination_the_last_parameter_changing_first() -> None:
    items = made({"sweep": {"T": [280, "x"], "seed": {"start": 1, "stop": 3}}})
    assert [(item["T"], item["seed"]) for item in items] == [
        *[(280, 1), (280, 2), (280, 3)],
        *[("x", 1), ("x", 2), ("x", 3)],
    ]
    assert list(items[0]) == ["T", "seed"]


def test_zip_takes_the_first_ones_then_the_second_ones() -> None:
    body = {"sweep": {"a": [1, 2], "b": [None, {"c": []}]}, "mode": "zip"}
    assert made(body) == [{"a": 1, "b": None}, {"a": 2, "b": {"c": []}}]
    assert "a has 2, b has 1" in faults({"sweep": {"a": [1, 2], "b": [1]}, "mode": "zip"})["sweep"]


def test_items_are_taken_as_they_are_listed() -> None:
    items = [{"a": 1}, {"b": [2], "a": "3"}]
    assert made({"items": items}) == items
    body = BatchBody.model_validate({"items": items})
    assert body.parameters == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ({"start": 1, "stop": 3}, [1, 2, 3]),
        ({"start": 1, "stop": 6, "step": 2}, [1, 3, 5]),
        ({"start": 3, "stop": 1, "step": -1}, [3, 2, 1]),
        ({"start": 5, "stop": 5}, [5]),
        ({"start": 0.1, "stop": 0.5, "step": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ({"start": 1, "stop": 2, "step": 0.5}, [1.0, 1.5, 2.0]),
        ({"start": -1e-3, "stop": 1e-3, "step": 1e-3}, [-0.001, 0.0, 0.001]),
    ],
)
def test_ranges_are_exact(given: dict[str, float], numbers: list[float]) -> None:
    found = NumberRange.model_validate(given).numbers()
    assert found == numbers
    assert [type(each) for each in found] == [type(each) for each in numbers]


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({}, "body", "either 'sweep' or 'items'"),
        ({"sweep": {"a": [1]}, "items": [{"a": 1}]}, "body", "either"),
        ({"sweep": {}}, "sweep", "at least 1"),
        ({"sweep": {"a": []}}, "sweep.a", "at least 1"),
        ({"sweep": {"a b": [1]}}, "sweep.a b", "must be a parameter's name"),
        ({"sweep": {"a": 3}}, "sweep.a", "must be a list of values, or a range such as {"),
        ({"sweep": {"a": {"start": 1, "stop": 0}}}, "sweep.a", "a step of 1 does not lead from 1"),
        ({"sweep": {"a": {"start": 1, "stop": 2, "step": 0}}}, "sweep.a", "a step of 0"),
        ({"sweep": {"a": {"start": "1", "stop": 2}}}, "sweep.a.start", "must be a number"),
        (
            {"sweep": {"a": {"start": 10**4000, "stop": 2}}},
            "sweep.a.start",
            "must be at most 1000000000000000",
        ),
        (
            {"sweep": {"a": {"from": 1, "to": 2}}},
            "sweep.a",
            "use 'start' instead of 'from', use 'stop'",
        ),
        ({"sweep": {"a": [1]}, "combine": "zip"}, "body", "use 'mode' instead of 'combine'"),
        ({"sweep": {"a": {"start": 1, "end": 2}}}, "sweep.a.end", "(options: start, stop, step)"),
        ({"items": []}, "items", "at least 1"),
        ({"items": [{"a": 1}], "at_once": 0}, "at_once", "must be at least 1"),
        (
            {"items": [{"a": 1}], "atonce": 1},
            "atonce",
            "unknown option 'atonce'; did you mean 'at_once'? (options: options,",
        ),
        ({"items": [{f"p{n}": 1 for n in range(101)}]}, "items.0", "at most 100"),
        (
            {"items": [{"a": 1}] * 1001},
            "items",
            "gives 1001 sets of parameters; at most 1000 are allowed",
        ),
        ({"sweep": {"a": [1] * 1001, "b": [1]}, "mode": "zip"}, "sweep", "gives 1001 sets"),
    ],
)
def test_what_makes_no_items_is_refused(body: dict[str, Any], field: str, said: str) -> None:
    assert said in faults(body)[field]


def test_product_that_would_explode_is_refused_by_its_size() -> None:
    huge = {"start": 1, "stop": 1e15, "step": 1e-300}
    assert (
        "sets of parameters; at most 1000 are" in faults({"sweep": {"a": huge, "b": huge}})["sweep"]
    )


def template(**options: Any) -> OptionTemplate:
    return OptionTemplate(options, ["script", "nodes", "env"])


def test_templates_are_filled_in_wherever_a_text_stands() -> None:
    filled = template(
        script="T={{T}} {{ s }} {{T}}", env={"{{T}}": ["a{{s}}", 7, None]}, nodes="{{n}}"
    )
    assert filled.fill({"T": 1.5, "s": "{{n}}", "n": 4}) == {
        "script": "T=1.5 {{n}} 1.5",
        "env": {"{{T}}": ["a{{n}}", 7, None]},
        "nodes": 4,
    }


@pytest.mark.parametrize("value", ["x", 1, 2.5, True, None, [1, "a"], {"a": [1]}])
def test_value_that_is_all_of_the_text_keeps_its_type(value: Any) -> None:
    assert template(env=["{{v}}"]).fill({"v": value}) == {"env": [value]}


def test_inside_of_a_text_stands_what_can_be_told_as_text() -> None:
    assert template(script="{{a}},{{b}},{{c}}").fill({"a": True, "b": 1e-7, "c": "é"}) == {
        "script": "true,1e-07,é"
    }
    no_texts: list[Any] = [[1], {}, None]
    for value in no_texts:
        with pytest.raises(InvalidOptions, match="a: only a text"):
            template(script="x {{a}}").fill({"a": value})


@pytest.mark.parametrize("text", ["{{.Names}}", "{ {a} }", "{{a b}}", "{{}}", "${a}", "{a}"])
def test_what_is_no_template_stays_as_it_is(text: str) -> None:
    assert template(script=text).fill({}) == {"script": text}


def test_parameter_that_no_template_names_is_the_option_of_its_name() -> None:
    assert template(script="x").fill({"nodes": 2}) == {"script": "x", "nodes": 2}
    assert template(script="n{{nodes}}").fill({"nodes": 2}) == {"script": "n2"}


def test_unknown_templates_and_parameters_of_no_use_are_named() -> None:
    found = template(script="{{a}} {{b}}", nodes=1).faults(["b", "nodes", "other"])
    assert [(each["field"], each["message"]) for each in found] == [
        ("a", "missing: the options use {{a}}"),
        ("nodes", "the options set 'nodes' already, and contain no {{nodes}}"),
        ("other", "nothing uses it: no {{other}} in the options, no option 'other'"),
    ]
    with pytest.raises(InvalidOptions, match="a: missing: the options use"):
        template(script="{{a}}").fill({})


def test_it_is_known_which_parameters_an_option_is_made_of() -> None:
    made_of = template(script="{{a}} {{b}}", env={"x": ["{{c}}"]}).parameters_of
    assert made_of({"script"}, ["a", "b", "c"]) == {"a", "b"}
    assert made_of({"env", "nodes"}, ["a", "c", "nodes"]) == {"c", "nodes"}


def test_counts_of_thousands_of_digits_are_refused_in_words() -> None:
    tiny = {"start": 0, "stop": 1e15, "step": 1e-300}
    message = faults({"sweep": {f"p{number}": tiny for number in range(100)}})["sweep"]
    assert message == (
        "gives more than 1000000000000000000 sets of parameters; at most 1000 are allowed"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"text": "{{a}}" * 1000},
        {"texts": ["{{a}}"] * 1000},
        {"deep": {"er": [{"text": "x{{ a }}{{a}}"}] * 500}},
    ],
)
def test_templates_are_measured_before_they_are_filled(options: dict[str, Any]) -> None:
    class Unread(str):
        """A text whose content must not be copied."""

        __slots__ = ()

        def __str__(self) -> str:
            raise AssertionError("filled")

    template = OptionTemplate(options, list(options))
    with pytest.raises(InvalidOptions, match="more than 1048576 characters once they are filled"):
        template.fill({"a": Unread("v" * 2000)})
    with pytest.raises(InvalidOptions, match="once they are filled"):
        template.fill({"a": ["v" * 20] * 100})
    assert template.filled_size({"a": "v" * 10}) < 30_000


@given(
    st.recursive(
        st.text("x{a} ", max_size=12) | st.integers(-9, 9) | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("k"), inner),
        max_leaves=20,
    )
)
def test_measured_size_is_about_that_of_the_json(value: Any) -> None:
    written = len(json.dumps(value, separators=(",", ":")))
    assert written // 2 - 2 <= json_size(value) <= 8 * written


def test_combinations_are_measured_before_they_are_made() -> None:
    long = {"a": ["x" * 1000] * 100, "b": ["y"] * 100}
    with pytest.raises(InvalidOptions, match="more than 1000000 characters in all"):
        combine_parameters(long, "product", limit=10_000, field="p", max_characters=1_000_000)
    found = combine_parameters(long, "zip", limit=10_000, field="p", max_characters=1_000_000)
    assert len(list(found)) == 100
