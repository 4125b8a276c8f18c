"""Operators in folders: loaded, looked up, refused with file and line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import operators
from resop.actions.catalog import RESERVED_PATHS, Catalog, load_catalog, lookup_key
from resop.actions.execute import perform_operation
from resop.actions.options import check_options
from resop.errors import BrokenOperator, UnknownAction
from resop.testing import FakeShell

SHIPPED = list(operators.__path__)

Load = Callable[[dict[str, str | bytes]], Catalog]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a site's folder without shipped operators; forget its modules afterwards."""
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(operators, "__path__", [str(tmp_path / "shipped")])
    before = set(sys.modules)
    yield tmp_path / "site"
    for name in set(sys.modules) - before:
        if name.startswith("operators."):
            del sys.modules[name]


@pytest.fixture
def load(folder: Path) -> Load:
    """Write files into the site's folder and load it."""

    def loaded(files: dict[str, str | bytes]) -> Catalog:
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_catalog([folder])

    return loaded


OPERATION = '''"""Says hello."""
from resop import Shell, operation


@operation
def {name}(shell: Shell, who: str = "you") -> str:
    return shell.run("echo", who).stdout
'''


def operation(name: str) -> str:
    return OPERATION.format(name=name)


COMMAND = "- {command: ls, options: {all: {flag: --all, type: flag}}}\n"


def refusal(load: Load, files: dict[str, str | bytes]) -> str:
    with pytest.raises(BrokenOperator) as refused:
        load(files)
    assert "\n" not in refused.value.message
    return refused.value.message


# -- loading


def test_operators_of_a_site_answer_like_shipped_ones(load: Load) -> None:
    catalog = load(
        {
            "my_site/__init__.py": '"""Our own."""\n',
            "my_site/commands.yml": COMMAND,
            "my_site/operations/say_hello.py": operation("say_hello"),
        }
    )
    assert catalog.operator("my_site").summary() == {
        "name": "my_site",
        "description": "Our own.",
        "commands": ["ls"],
        "operations": ["say_hello"],
    }
    assert [each.title for each in catalog] == ["my_site:ls", "my_site:say_hello"]
    hello = catalog.operators["mysite"].operations["sayhello"]
    assert hello.description == "Says hello."
    shell = FakeShell().expect("echo ada", stdout="ada")
    assert perform_operation(hello, shell, check_options(hello.options, {"who": "ada"})).output


@pytest.mark.parametrize(
    ("operator", "name"),
    [("my_site", "say_hello"), ("my-site", "sayHello"), ("MYSITE", "say-hello")],
)
def test_names_are_looked_up_ignoring_case_and_dashes(load: Load, operator: str, name: str) -> None:
    catalog = load({"my_site/operations/say_hello.py": operation("say_hello")})
    assert catalog.action(operator, "opn", name).name == "say_hello"


def test_actions_know_their_paths(load: Load) -> None:
    files: dict[str, str | bytes] = {
        "my_site/commands.yml": COMMAND,
        "my_site/operations/say_hello.py": operation("say_hello"),
    }
    listing, hello = load(files)
    assert (listing.path, listing.kind_code, listing.in_api) == ("/my_site/cmd/ls", "cmd", False)
    assert (hello.path, hello.kind_code) == ("/my_site/opn/say_hello", "opn")
    assert not hello.in_api


def test_operation_may_import_another_of_the_site(load: Load) -> None:
    importing = """from resop import Shell, operation
from operators.first_site.operations.hello import hello
from operators.first_site.helpers import GREETING

@operation
def twice(shell: Shell) -> str:
    return GREETING + hello(shell, who="a") + hello(shell, who="b")
"""
    catalog = load(
        {
            "first_site/helpers.py": "GREETING = '>'\n",
            "first_site/operations/hello.py": operation("hello"),
            "second_site/operations/twice.py": importing,
        }
    )
    assert [each.title for each in catalog] == ["first_site:hello", "second_site:twice"]
    twice = catalog.operators["secondsite"].operations["twice"]
    shell = FakeShell().expect("echo a", stdout="1").expect("echo b", stdout="2")
    assert twice(shell) == ">12"


def test_operation_of_a_site_may_import_a_shipped_one(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "__path__", list(SHIPPED))
    text = """from resop import Shell, operation
from operators.core.operations.run import run

@operation
def kernel(shell: Shell) -> str:
    return run(shell, command="uname -r")["stdout"]
"""
    catalog = load({"kernels/operations/kernel.py": text})
    kernel = catalog.operators["kernels"].operations["kernel"]
    assert kernel(FakeShell().expect("uname -r", stdout="6.1")) == "6.1"
    assert {"core", "utils", "slurm", "auth", "template"} <= set(catalog.operators)


def test_folder_without_actions_is_ignored(load: Load) -> None:
    catalog = load(
        {
            "README.md": "",
            "docs/index.md": "",
            "__pycache__/x.pyc": b"\x00",
            "empty/operations/.keep": "",
            "empty/operations/_helper.py": "not python",
            "quiet/commands.yml": "# nothing yet\n",
        }
    )
    assert sorted(catalog.operators) == ["empty", "quiet"]
    assert list(catalog) == []


def test_disabled_command_is_left_out(load: Load) -> None:
    catalog = load({"one/commands.yml": "- {command: ls, enabled: false}\n- {command: cp}\n"})
    assert [each.name for each in catalog] == ["cp"]


def test_commands_may_share_options(load: Load) -> None:
    text = """
- command: a
  options:
    <<: &common {x: {flag: -x}, y: {flag: -y}}
- command: b
  options:
    <<: *common
    x: {flag: --other}
"""
    catalog = load({"one/commands.yml": text})
    entry = catalog.command("one", "b").entry
    assert {name: option.flag for name, option in entry.options.items()} == {
        "x": "--other",
        "y": "-y",
    }


def test_operation_with_a_gate_is_one_of_the_api(load: Load) -> None:
    text = """from resop import Gate, operation

@operation
async def enter(gate: Gate) -> str:
    return ""
"""
    files: dict[str, str | bytes] = {
        "doors/operations/enter.py": text,
        "doors/operations/hello.py": operation("hello"),
    }
    catalog = load(files)
    enter = catalog.api_operation("Doors", "opn", "ENTER")
    assert enter is not None and enter.in_api
    assert catalog.api_operation("doors", "opn", "hello") is None
    assert catalog.api_operation("doors", "cmd", "enter") is None
    assert catalog.api_operation("nowhere", "opn", "enter") is None


# -- unknown names


@pytest.fixture
def catalog(load: Load) -> Catalog:
    commands = "- {command: squeue}\n- {command: sacct}\n- {command: scontrol, subcommand: show}\n"
    return load(
        {
            "slurmy/commands.yml": commands,
            "slurmy/operations/submit.py": operation("submit"),
            "other/commands.yml": COMMAND,
        }
    )


@pytest.mark.parametrize(
    ("operator", "kind", "name", "hint"),
    [
        ("slurmi", "cmd", "squeue", "no operator 'slurmi'; did you mean 'slurmy'?"),
        ("zzz", "cmd", "squeue", "no operator 'zzz' (operators: other, slurmy)"),
        ("slurmy", "cmd", "sqeue", "no command 'sqeue'; did you mean 'squeue'?"),
        ("SLURMY", "cmd", "Scontrol-Shwo", "did you mean 'scontrol_show'?"),
        ("slurmy", "cmd", "submit", "no command 'submit'; did you mean /slurmy/opn/submit?"),
        ("slurmy", "opn", "squeue", "no operation 'squeue'; did you mean /slurmy/cmd/squeue?"),
        ("slurmy", "opn", "zzzzzz", "no operation 'zzzzzz' (operations: submit)"),
        ("other", "opn", "hello", "no operation 'hello'"),
        ("slurmy", "cmd", "", "no command '' (commands: sacct, scontrol_show, squeue)"),
    ],
)
def test_unknown_action_names_the_nearest(
    catalog: Catalog, operator: str, kind: str, name: str, hint: str
) -> None:
    with pytest.raises(UnknownAction) as unknown:
        catalog.action(operator, "cmd" if kind == "cmd" else "opn", name)
    assert unknown.value.message.endswith(hint)


# -- refusals


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("- command: ls\n  options: {a: {flag: -a}\n", 3, "expected ',' or '}'"),
        ("- command: ls\n\tdescription: x\n", 2, "character"),
        ("- command: ls\n  options:\n    a: {flg: -a}\n", 3, "options.a.flag: is required"),
        (
            "- command: ls\n  options:\n    a:\n      flag: -a\n      flg: x\n",
            5,
            "unknown key 'flg'; did you mean 'flag'?",
        ),
        ("- command: ls\n- comand: cp\n", 2, "unknown key 'comand'; did you mean 'command'?"),
        ("- command: ls\n  timeout: soon\n", 2, "timeout: "),
        ("- command: ls\n  options:\n    a: {flag: -a, pattern: '['}\n", 3, "regular expression"),
        ("- command: ls\n  options:\n    a: {flag: -a, default: x, type: flag}\n", 3, "not fit"),
        (
            "- command: ls\n  options:\n    a: {flag: -a}\n    a: {flag: -b}\n",
            4,
            "'a' occurs twice",
        ),
        ("- command: ls\n  command: cp\n", 2, "'command' occurs twice"),
        ("- command: ls\n-\n", 2, "entry: "),
        ("- command: ls\n- text\n", 2, "entry: "),
        ("command: ls\n", 1, "must be a list of commands"),
        ("ls\n", 1, "must be a list of commands"),
        ("- command: ls\n---\n- command: cp\n", 2, "document"),
        ("- command: !!python/object/apply:os.system [id]\n", 1, "constructor"),
        ("- {command: ls, form: 2026-99-99}\n", 1, "month"),
        ('- command: ls\n  subcommand: "it\'s"\n', 2, "unclosed quotation mark"),
        ("- command: /bin/ls\n", 1, "give the entry a 'name'"),
        ("- command: ls\n- {command: cp, name: L-S}\n", 2, "the same name in a URL"),
        ("- &a [*a]\n", 1, ""),
        ("- {command: ls, ? [a]: b}\n", 1, ""),
    ],
)
def test_broken_yaml_is_refused_with_file_and_line(
    folder: Path, load: Load, text: str, line: int, fault: str
) -> None:
    message = refusal(load, {"broken/commands.yml": text})
    assert message.startswith(f"{folder}/broken/commands.yml:{line}: ")
    assert fault in message


def test_example_that_the_command_refuses_is_named_with_its_line(load: Load) -> None:
    entry = "- command: ls\n  options: {all: {flag: --all, type: flag}}\n  examples: [{al: true}]\n"
    message = refusal(load, {"site/commands.yml": entry})
    assert "commands.yml:3: examples: al: unknown option 'al'" in message


@pytest.mark.parametrize("text", [b"- command: l\xe9\n", b"- command: l\x00s\n", b"\xff\xfe"])
def test_yaml_that_is_not_text_is_refused_by_file(folder: Path, load: Load, text: bytes) -> None:
    assert refusal(load, {"broken/commands.yml": text}).startswith(
        f"{folder}/broken/commands.yml:1: "
    )


BEGIN = "from resop import Shell, operation\n"


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("x = 1\ndef it(:\n", 2, "invalid syntax"),
        ("def it():\nreturn 1\n", 2, "expected an indented block"),
        ("x = 1\nimport no_such_module\n", 2, "No module named 'no_such_module'"),
        (f"{BEGIN}\n@operation\ndef it(shell):\n    pass\n", 3, "shell: Shell"),
        (f"{BEGIN}\n@operation\ndef it(shell: Shell, user):\n    pass\n", 3, "'user' has no type"),
        (
            f"{BEGIN}\n\n@operation\ndef other(shell: Shell) -> None: ...\n",
            4,
            "must have the name of its file",
        ),
        (
            f"{BEGIN}def it(shell: Shell) -> None: ...\n",
            1,
            "one function with @operation, but has 0",
        ),
        ("", 1, "one function with @operation, but has 0"),
        (
            f"{BEGIN}@operation\ndef it(s: Shell): ...\n\n@operation\ndef b(s: Shell): ...\n",
            5,
            "but has 2",
        ),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
        ("import sys\nsys.exit('bye')\n", 2, "SystemExit: bye"),
        ("from operators.nowhere.operations.x import x\n", 1, "No module named"),
        ("from operators.broken.helper import x\n", 1, "No module named"),
    ],
)
def test_broken_python_is_refused_with_file_and_line(
    folder: Path, load: Load, text: str, line: int, fault: str
) -> None:
    message = refusal(load, {"broken/operations/it.py": text})
    assert message.startswith(f"{folder}/broken/operations/it.py:{line}: ")
    assert fault in message


@pytest.mark.parametrize("text", [b"x = '\xff'\n", b"x = 1\x00\n"])
def test_python_that_is_not_text_is_refused_by_file(folder: Path, load: Load, text: bytes) -> None:
    for name in ("operations/it.py", "__init__.py"):
        (folder / "broken").mkdir(parents=True, exist_ok=True)
        message = refusal(load, {"broken/commands.yml": "", f"broken/{name}": text})
        assert message.startswith(f"{folder}/broken/{name}:1: ")
        (folder / "broken" / name).unlink()


def test_fault_in_a_helper_names_the_helper(folder: Path, load: Load) -> None:
    files: dict[str, str | bytes] = {
        "broken/helper.py": "x = 1\n\n1 / 0\n",
        "broken/operations/it.py": "from operators.broken.helper import x\n",
    }
    assert refusal(load, files) == (
        f"{folder}/broken/helper.py:3: ZeroDivisionError: division by zero"
    )


def test_imported_operation_does_not_count(load: Load) -> None:
    files: dict[str, str | bytes] = {
        "one/operations/hello.py": operation("hello"),
        "one/operations/it.py": "from operators.one.operations.hello import hello\n",
    }
    assert "one function with @operation, but has 0" in refusal(load, files)


@pytest.mark.parametrize(
    "files",
    [
        {"one/operations/sayhello.py": "sayhello", "one/operations/say_hello.py": "say_hello"},
        {"my_site/operations/a.py": "a", "mySite/operations/a.py": "a"},
    ],
)
def test_names_that_are_the_same_in_a_url_are_refused(load: Load, files: dict[str, str]) -> None:
    message = refusal(load, {file: operation(name) for file, name in files.items()})
    assert "are the same name in a URL" in message


def test_operator_of_a_site_does_not_replace_a_shipped_one(folder: Path, load: Load) -> None:
    shipped = folder.parent / "shipped/Slurm/commands.yml"
    shipped.parent.mkdir()
    shipped.write_text(COMMAND)
    message = refusal(load, {"slurm/commands.yml": COMMAND})
    assert message.startswith(f"{folder}/slurm: 'slurm' and 'Slurm' are the same name")


@pytest.mark.parametrize("name", sorted(RESERVED_PATHS))
def test_name_of_an_api_path_is_refused(load: Load, name: str) -> None:
    assert "is a path of the API" in refusal(load, {f"{name.title()}/commands.yml": COMMAND})


@pytest.mark.parametrize("name", ["my-site", "9lives", "a b", "é", "_site"])
def test_folder_whose_name_python_cannot_import_is_refused(load: Load, name: str) -> None:
    assert "Python name" in refusal(load, {f"{name}/commands.yml": COMMAND})


def test_misnamed_commands_file_is_refused(folder: Path, load: Load) -> None:
    assert refusal(load, {"one/commands.yaml": COMMAND}) == (
        f"{folder}/one/commands.yaml: the file must be named commands.yml"
    )


def test_missing_folder_is_refused(folder: Path) -> None:
    with pytest.raises(BrokenOperator, match=f"OPERATORS_PATH: {folder} is not a folder"):
        load_catalog([folder])


def test_lookup_key_ignores_case_and_dashes() -> None:
    assert lookup_key("linux-user") == lookup_key("linux_user") == lookup_key("LinuxUser")
    assert lookup_key("linuxuser2") != lookup_key("linuxuser")
