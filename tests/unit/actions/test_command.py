"""Entries of a commands.yml: the options they accept, and the argument list they make."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from resop.actions.command import Command, CommandEntry
from resop.actions.options import check_options, option_names
from resop.errors import InvalidOptions
from resop.steps.json_text import read_json
from resop.types import Secret


def command(text: str) -> Command:
    return Command("test", CommandEntry.model_validate(yaml.safe_load(text)))


def argv(declared: Command, options: dict[str, Any]) -> list[str]:
    return list(declared.invocation(check_options(declared.options, options)).argv)


def faults(declared: Command, options: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidOptions) as refusal:
        declared.invocation(check_options(declared.options, options))
    messages: defaultdict[str, str] = defaultdict(str)
    for fault in refusal.value.details["faults"]:
        messages[fault["field"]] += fault["message"]
    return messages


def one_option(entry: str) -> Command:
    return command(f"{{command: do, options: {{it: {entry}}}}}")


PLAIN = """
command: sacctmgr
subcommand: show user
description: accounts
enabled: true
form: {columns: 2}
options:
  user:
    flag: --user
    description: only this one
  all:
    flag: -a
"""


def test_plain_entry_loads() -> None:
    declared = command(PLAIN)
    assert declared.name == "sacctmgr_show_user"
    assert declared.title == "test:sacctmgr_show_user"
    assert argv(declared, {}) == ["sacctmgr", "show", "user"]
    assert argv(declared, {"user": "ada", "all": True, "input": "a 'b c'"}) == [
        *["sacctmgr", "show", "user", "--user", "ada", "-a"],
        *["a", "b c"],
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x y", ["--it", "x y"]),
        ("", ["--it"]),
        ("true", ["--it"]),
        ("True", ["--it"]),
        ("false", []),
        ("on", ["--it", "on"]),
        ("truely", ["--it", "truely"]),
        ("-rf", ["--it", "-rf"]),
        (True, ["--it"]),
        (False, []),
        (None, []),
        (1, ["--it", "1"]),
        (0, ["--it", "0"]),
        (2.5, ["--it", "2.5"]),
    ],
)
def test_option_without_a_type_is_a_flag_for_true_and_takes_any_other_value(
    value: object, words: list[str]
) -> None:
    assert argv(one_option("{flag: --it}"), {"it": value}) == ["do", *words]


def test_repeated_option_without_a_type_may_be_the_flag_alone() -> None:
    entry = one_option("{flag: -v, repeat: true}")
    assert argv(entry, {"it": ["", "true", True, "3"]}) == ["do", "-v", "-v", "-v", "-v", "3"]


def test_aliases_of_an_option_and_dashes_mean_the_option() -> None:
    entry = command("{command: do, options: {job_id: {flag: -j, aliases: [id]}, a: {flag: -a}}}")
    for name in ("job_id", "job-id", "id"):
        assert argv(entry, {name: "7"}) == ["do", "-j", "7"]
    assert (
        "is given twice: as 'id' and as 'job_id'" in faults(entry, {"id": 7, "job_id": 8})["job_id"]
    )
    for alias in ("a", "input", "stdin"):
        options = f"{{job_id: {{flag: -j, aliases: [{alias}]}}, a: {{flag: -a}}}}"
        with pytest.raises(ValidationError, match=f"'job_id': the alias '{alias}' is taken"):
            command(f"{{command: do, options: {options}}}")


def test_true_is_the_flag_alone() -> None:
    entry = one_option("{flag: --it=}")
    assert argv(entry, {"it": "always"}) == ["do", "--it=always"]
    assert argv(entry, {"it": True}) == ["do", "--it"]


@pytest.mark.parametrize(
    ("entry", "value", "words"),
    [
        ("{flag: --it, type: string}", "a b", ["--it", "a b"]),
        ("{flag: --it=, type: string}", "a b", ["--it=a b"]),
        ("{flag: --it=, type: string}", "", ["--it="]),
        ("{flag: -o it=, type: string}", "x", ["-o", "it=x"]),
        ("{flag: -u, type: string}", "-rf", ["-u", "-rf"]),
        ("{flag: --it, type: string}", 7, ["--it", "7"]),
        ("{flag: --it, type: integer}", -3, ["--it", "-3"]),
        ("{flag: --it, type: integer}", "12", ["--it", "12"]),
        ("{flag: --it, type: number}", 0.5, ["--it", "0.5"]),
        ("{flag: --it, type: boolean}", True, ["--it", "true"]),
        ("{flag: --it=, type: boolean}", False, ["--it=false"]),
        ("{flag: --it, type: flag}", True, ["--it"]),
        ("{flag: --it, type: flag}", "on", ["--it"]),
        ("{flag: --it, type: flag}", False, []),
        ("{flag: --it, type: choice, choices: [a, b]}", "b", ["--it", "b"]),
        ("{flag: --it, choices: [1, 2]}", 2, ["--it", "2"]),
        ("{flag: --it, choices: [1, 2]}", "2", ["--it", "2"]),
        ("{flag: --it, pattern: 'a+|b'}", "aa", ["--it", "aa"]),
        ("{flag: --it, repeat: true}", ["a", "-b"], ["--it", "a", "--it", "-b"]),
        ("{flag: --it=, repeat: true, type: integer}", [1, 2], ["--it=1", "--it=2"]),
        ("{flag: --it, repeat: true}", [], []),
        ("{flag: '', pattern: '[^-].*'}", "place", ["place"]),
        ("{flag: --it, default: 5}", "x", ["--it", "x"]),
    ],
)
def test_value_becomes_arguments_in_the_style_of_its_flag(
    entry: str, value: object, words: list[str]
) -> None:
    assert argv(one_option(entry), {"it": value}) == ["do", *words]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{flag: --it, default: x y}", ["--it", "x y"]),
        ("{flag: --it=, default: 5, type: integer}", ["--it=5"]),
        ("{flag: --it, default: true, type: flag}", ["--it"]),
        ("{flag: --it, default: 1, type: flag}", ["--it"]),
        ("{flag: --it, default: 5, type: string}", ["--it", "5"]),
        ("{flag: --it, default: 2, choices: [1, 2]}", ["--it", "2"]),
        ("{flag: --it, default: [a, b], repeat: true}", ["--it", "a", "--it", "b"]),
        ("{flag: --it, enabled: false, default: x}", []),
    ],
)
def test_missing_option_has_its_default(entry: str, words: list[str]) -> None:
    assert argv(one_option(entry), {}) == ["do", *words]


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("{flag: --it, type: integer}", "1.5"),
        ("{flag: --it, type: integer}", [1]),
        ("{flag: --it, type: number}", "many"),
        ("{flag: --it, type: string}", True),
        ("{flag: --it, type: string}", ["a"]),
        ("{flag: --it, type: string}", "a\x00b"),
        ("{flag: --it, type: string}", "\ud800"),
        ("{flag: --it}", "a\x00b"),
        ("{flag: --it}", {"a": 1}),
        ("{flag: --it, type: flag}", "maybe"),
        ("{flag: --it, choices: [a, b]}", "c"),
        ("{flag: --it, choices: [a, b]}", ["a"]),
        ("{flag: --it, pattern: 'a+|b'}", "ab"),
        ("{flag: --it, pattern: 'a+'}", "a\n"),
        ("{flag: --it, pattern: 'a+'}", "x\na"),
        ("{flag: --it, pattern: 'a+', repeat: true}", ["a", "b"]),
        ("{flag: --it, repeat: true}", "a"),
        ("{flag: --it, required: true}", None),
    ],
)
def test_invalid_value_is_refused_by_the_name_of_its_option(entry: str, value: object) -> None:
    (field,) = {name.split(".")[0] for name in faults(one_option(entry), {"it": value})}
    assert field == "it"


def test_unknown_option_lists_the_declared_ones() -> None:
    declared = command("{command: do, options: {user: {flag: -u}, json: {flag: -j}}}")
    messages = faults(declared, {"usr": "x", "json": True, "rm -rf": 1})
    assert set(messages) == {"usr", "rm -rf"}
    assert messages["usr"] == (
        "unknown option 'usr'; did you mean 'user'? (options: user, json, input, stdin)"
    )


def test_every_fault_is_reported_but_no_value() -> None:
    declared = command(
        "{command: do, options: {a: {flag: -a, type: integer}, b: {flag: -b, required: true},"
        " c: {flag: -c, pattern: x}}}"
    )
    with pytest.raises(InvalidOptions) as refusal:
        check_options(declared.options, {"a": "hunter2", "c": "hunter2", "d": "hunter2"})
    assert [fault["field"] for fault in refusal.value.details["faults"]] == ["a", "b", "c", "d"]
    assert "hunter2" not in str(refusal.value.as_json())


@pytest.mark.parametrize(
    "name",
    ["json", "copy", "model_config", "schema", "no-header", "self", "option_0", "class", "a b"],
)
def test_option_may_have_any_name(name: str) -> None:
    entry = {"command": "do", "options": {name: {"flag": "--it"}, "x": {"flag": "-x"}}}
    declared = Command("test", CommandEntry.model_validate(entry))
    assert argv(declared, {name: "v"}) == ["do", "--it", "v"]
    assert option_names(declared.options) == [name, "x", "input", "stdin"]
    assert name in declared.options.model_json_schema()["properties"]


SECRET = "{command: do, options: {pw: {flag: --password-stdin, secret: true}, u: {flag: -u}}}"


def test_secret_goes_by_standard_input_with_its_flag() -> None:
    declared = command(SECRET)
    options = check_options(declared.options, {"pw": "hunter2", "u": "ada"})
    invocation = declared.invocation(options)
    assert invocation.argv == ("do", "--password-stdin", "-u", "ada")
    assert isinstance(invocation.stdin, Secret)
    assert invocation.stdin.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(invocation) + repr(options)


def test_command_with_a_secret_has_no_option_stdin() -> None:
    assert faults(command(SECRET), {"stdin": "x"}) == {
        "stdin": "unknown option 'stdin' (options: pw, u, input)"
    }


def test_text_for_standard_input_is_passed_on() -> None:
    declared = command("command: do")
    options = check_options(declared.options, {"stdin": "a\nb"})
    assert declared.invocation(options).stdin == "a\nb"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, []),
        ("", []),
        ([], []),
        ("a 'b c' d\\ e", ["a", "b c", "d e"]),
        ("$(id) `id` *; x", ["$(id)", "`id`", "*;", "x"]),
        ("a # b", ["a", "#", "b"]),
        (["a b", "", "'"], ["a b", "", "'"]),
        ([1, 2.5], ["1", "2.5"]),
        ("-rf x", ["--", "-rf", "x"]),
        (["x", "-rf"], ["--", "x", "-rf"]),
        (["--", "-x"], ["--", "--", "-x"]),
        (["-"], ["--", "-"]),
    ],
)
def test_input_is_split_once_and_never_becomes_an_option(given: object, words: list[str]) -> None:
    declared = command("{command: do, options: {a: {flag: -a, default: true, type: flag}}}")
    assert argv(declared, {"input": given}) == ["do", "-a", *words]


@settings(deadline=None)
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_no_input_is_an_option_of_the_command(words: list[str]) -> None:
    found = argv(command("command: do"), {"input": words})
    assert found[len(found) - len(words) :] == words
    before = found[: len(found) - len(words)]
    assert before == (["do", "--"] if any(w.startswith("-") for w in words) else ["do"])


@pytest.mark.parametrize(
    ("rules", "given", "message"),
    [
        ("{dash: refuse}", ["a", "-rf"], "must not contain '-rf': it begins with '-'"),
        ("{min: 1}", None, "must be text or a list"),
        ("{min: 1}", [], "needs 1 or more arguments, but has 0"),
        ("{min: 2}", "a", "needs 2 or more arguments, but has 1"),
        ("{max: 1}", "a b", "takes at most 1 argument, but has 2"),
        ("{}", "it's", "has an unclosed quotation mark; send a list instead"),
        ("{}", ["a\x00"], "NUL"),
        ("{}", ["a" * 131_072], "at most 131071"),
        ("{}", {"a": 1}, "must be text or a list"),
        ("{}", [["a"]], "must be text"),
        ("{}", [True], "must be text"),
        ("false", "a", "unknown option 'input' (options: stdin)"),
    ],
)
def test_invalid_input_is_refused(rules: str, given: object, message: str) -> None:
    messages = faults(command(f"{{command: do, arguments: {rules}}}"), {"input": given})
    assert {field.split(".")[0] for field in messages} == {"input"}
    assert any(message in each for each in messages.values())


def test_input_with_a_minimum_is_required() -> None:
    declared = command("{command: do, arguments: {min: 1}}")
    assert faults(declared, {}) == {"input": "is required"}
    assert declared.options.model_json_schema()["required"] == ["input"]


def test_dashed_input_is_unchanged_if_the_entry_allows_it() -> None:
    declared = command("{command: do, arguments: {dash: allow}}")
    assert argv(declared, {"input": "-rf x"}) == ["do", "-rf", "x"]


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ("{flag: --it, type: choice}", "needs 'choices'"),
        ("{flag: --it, type: text}", "'string', 'integer'"),
        ("{flag: --it, type: flag, repeat: true}", "no value to repeat"),
        ("{flag: --it, secret: true, type: integer}", "one string"),
        ("{flag: --it, secret: true, default: hunter2}", "takes no"),
        ("{flag: --it, choices: [yes, no]}", "valid string"),
        ("{flag: --it, choices: [a], pattern: a}", "without 'choices'"),
        ("{flag: --it, type: integer, pattern: '[0-9]'}", "for a string"),
        ("{flag: --it, pattern: '['}", "not a regular expression"),
        ("{flag: --it, pattern: '(?!a)b'}", "look-around"),
        ("{flag: --it, type: integer, default: many}", "does not fit"),
        ("{flag: --it, choices: [a], default: b}", "does not fit"),
        ("{flag: --it, repeat: true, default: a}", "does not fit"),
        ("{flag: --it's}", "unclosed quotation mark"),
        ("{flag: ''}", "empty 'flag' needs 'pattern'"),
        ("{flag: --it, flags: x}", "Extra inputs"),
        ("{description: no flag}", "Field required"),
    ],
)
def test_contradictory_option_is_refused_when_it_is_loaded(entry: str, part: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        one_option(entry)
    assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ("{command: ''}", "at least 1 character"),
        ("{command: /usr/bin/squeue}", "give the entry a 'name'"),
        ("{command: openssl passwd}", "give the entry a 'name'"),
        ("{command: do, name: a/b}", "give the entry a 'name'"),
        ("{command: do, subcommand: it's}", "unclosed quotation mark"),
        ("{command: do, timeout: 0}", "greater than 0"),
        ("{command: do, timeout: .inf}", "finite"),
        ("{command: do, options: {input: {flag: -i}}}", "every command has an option of this name"),
        ("{command: do, options: {stdin: {flag: -i}}}", "every command has an option of this name"),
        (
            "{command: do, options: {a: {flag: -a, secret: true}, b: {flag: -b, secret: true}}}",
            "only one option can be secret",
        ),
        ("{command: do, option: {}}", "Extra inputs"),
    ],
)
def test_contradictory_command_is_refused_when_it_is_loaded(entry: str, part: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        command(entry)
    assert part in str(refusal.value)


def test_schema_shows_types_limits_and_descriptions() -> None:
    schema = command(
        "{command: do, options: {n: {flag: -n, type: integer, required: true, description: how},"
        " c: {flag: -c, choices: [a, b]}, p: {flag: -p, pattern: x+}}}"
    ).options.model_json_schema()
    properties = schema["properties"]
    assert schema["required"] == ["n"]
    assert (properties["n"]["type"], properties["n"]["description"]) == ("integer", "how")
    assert {"enum": ["a", "b"], "type": "string"} in properties["c"]["anyOf"]
    assert {"pattern": "^(?:x+)$", "type": "string"} in properties["p"]["anyOf"]


def test_each_command_has_its_own_model() -> None:
    models = [command("command: a").options, command("{command: b, name: a}").options]
    assert models[0] is not models[1]
    assert all(issubclass(model, BaseModel) for model in models)


def test_json_answer_is_parsed_and_text_is_unchanged() -> None:
    assert command("{command: do, output: json}").answer('{"a": [1]}\n') == {"a": [1]}
    assert command("{command: do}").answer('{"a": [1]}\n') == '{"a": [1]}\n'


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert read_json("[NaN, -Infinity, 1e999, 1.5, 2]") == [None, None, None, 1.5, 2]


def test_lone_surrogate_in_json_is_replaced() -> None:
    assert read_json('{"\\ud83d": ["a\\udc00b", "\\ud83d\\ude00"]}') == {
        "\ufffd": ["a\ufffdb", "😀"]
    }


@pytest.mark.parametrize("text", ["", "not json", "[1", "[" * 100_000, "1" * 5000, '{"a":1} x'])
def test_text_that_is_not_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_json(text)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("{flag: --it, pattern: 'a+', expects: one or more a}", "must be one or more a"),
        ("{flag: --it, pattern: 'a+', description: letters}", "takes: letters"),
        ("{flag: --it, pattern: 'a+'}", "does not have the form that this option takes"),
    ],
)
def test_refusal_of_a_pattern_says_what_is_expected(option: str, message: str) -> None:
    declared = command(f"{{command: do, options: {{it: {option}}}}}")
    assert faults(declared, {"it": "b"})["it"].endswith(message)


@pytest.mark.parametrize("options", [{"input": ["x"] * 60_001}, {"name": ["x"] * 60_001}])
def test_more_values_than_a_command_line_has_room_for_are_refused(options: dict[str, Any]) -> None:
    declared = command("{command: do, options: {name: {flag: --name, repeat: true}}}")
    with pytest.raises(InvalidOptions, match="has 60001 values; a command line has room for 60000"):
        argv(declared, options)
