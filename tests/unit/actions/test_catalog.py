"""Operators in folders: loaded, looked up, refused with file and line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import operators
from resop.actions.catalog import RESERVED_PATHS, Catalog, load_catalog, lookup_key
from resop.actions.command import ArgumentsEntry, Command
from resop.actions.execute import perform_operation
from resop.actions.operation import Operation
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
    assert all(each.startswith(f"{folder}/broken/commands.yml:") for each in message.splitlines())
    assert message.startswith(f"{folder}/broken/commands.yml:{line}: ")
    assert fault in message


EMPTY_VALUES = """
- command: true
  subcommand:
  description:
  options:
    no: {flag: -1, description: }
    2: {flag: -010, description: 2, type: , default: }
    on:
      flag: --on
      enabled:
  form:
- command: nice
  options: {wait: {flag: --wait=, choices: [no, yes, 1, 2026-01-01], default: no}}
  arguments:
  timeout:
  enabled: true
- command: sort
  options:
  arguments: {description: , max: }
"""


def test_texts_are_taken_as_written_and_keys_without_a_value_as_not_given(load: Load) -> None:
    true, nice, sort = load({"one/commands.yml": EMPTY_VALUES})
    assert (true.name, true.description) == ("true", "")
    assert isinstance(true, Command) and isinstance(nice, Command) and isinstance(sort, Command)
    flags = {name: option.flag for name, option in true.entry.options.items()}
    assert flags == {"no": "-1", "2": "-010", "on": "--on"}
    assert true.entry.options["2"].description == "2"
    assert (nice.entry.arguments, nice.timeout) == (True, None)
    assert nice.entry.options["wait"].choices == ["no", "yes", 1, "2026-01-01"]
    assert nice.entry.options["wait"].default == "no"
    assert isinstance(sort.entry.arguments, ArgumentsEntry) and sort.entry.arguments.max is None
    assert sort.entry.options == {}


MANY_FAULTS = """\
- command: copy
  options:
    force:
      description: first try,
      then force
      flag: -f
    quiet:
      flag: -q
    quiet:
      desciption: say nothing
      flag: -q
- command: remove
  options:
    verbose:
      description: units: hours, minutes
   recursive:
      flag: -r
    all:
      flag: -a
      repeat: often
    reverse: -r
- comand: list
- command: move
  description: [from, to
- {command: list, description:, timeout: }
"""


def test_every_fault_of_all_files_is_in_one_report(folder: Path, load: Load) -> None:
    message = refusal(
        load,
        {
            "broken/commands.yml": MANY_FAULTS,
            "broken/operations/it.py": "def it(:\n",
            "other/commands.yml": "- {command: ls}\n- {command: ls}\n",
            "other/operations/good.py": operation("good"),
            "9/commands.yml": COMMAND,
        },
    )
    begins = [line.removeprefix(f"{folder}/") for line in message.splitlines()]
    expected = [
        ("9: ", "begins with a letter: rename the folder"),
        ("broken/commands.yml:5: ", "indent it further, if it continues line 4"),
        ("broken/commands.yml:9: ", "'quiet' occurs twice, first in line 7: remove one"),
        ("broken/commands.yml:10: ", "did you mean 'description'?"),
        ("broken/commands.yml:14: ", "options.verbose.flag: is required: write the program's own"),
        ("broken/commands.yml:15: ", "put the value in quotes"),
        ("broken/commands.yml:16: ", "indent it by 4 spaces, like line 14"),
        ("broken/commands.yml:20: ", "options.all.repeat: must be true or false"),
        ("broken/commands.yml:21: ", "options.reverse: must be written with its flag"),
        ("broken/commands.yml:22: ", "did you mean 'command'?"),
        ("broken/commands.yml:22: ", "command: is required: the program to run"),
        ("broken/commands.yml:24: ", "description: must be text"),
        ("broken/commands.yml:25: ", "close what begins in line 24 with ']'"),
        ("broken/commands.yml:25: ", "found unexpected ':': put a space after each ':'"),
        ("broken/operations/it.py:1: ", "invalid syntax"),
        ("other/commands.yml:2: ", "are the same name in a URL"),
    ]
    assert len(begins) == len(expected), message
    for line, (begin, fault) in zip(begins, expected, strict=True):
        assert line.startswith(begin) and fault in line, line


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


@pytest.fixture
def shipped(folder: Path) -> Path:
    """Return a shipped operator with a command, two operations and a module."""
    shipped = folder.parent / "shipped/file_tools"
    (shipped / "operations").mkdir(parents=True)
    (shipped / "__init__.py").write_text('"""Shipped."""\n')
    (shipped / "commands.yml").write_text(
        "- {command: openssl, subcommand: passwd -stdin}\n" + COMMAND
    )
    (shipped / "words.py").write_text("WORD = 'shipped'\n")
    for name in ("create_user", "delete_user"):
        (shipped / f"operations/{name}.py").write_text(operation(name))
    return shipped


REPLACEMENT = '''"""Replaces the shipped one, which it calls."""
from operators.file_tools.own_words import WORD
from operators.file_tools.operations.create_user import create_user as shipped_one
from resop import Shell, operation

@operation
def create_user(shell: Shell) -> str:
    return WORD + shipped_one(shell, who="ada")
'''


@pytest.mark.parametrize("name", ["file-tools", "file_tools", "fileTools"])
def test_operator_of_a_site_extends_the_shipped_one_of_its_name(
    folder: Path, shipped: Path, load: Load, name: str
) -> None:
    catalog = load(
        {
            f"{name}/commands.yml": "- {command: ls, form: static/ls.html}\n- {command: df}\n",
            f"{name}/own_words.py": "WORD = 'own '\n",
            f"{name}/words.py": "",
            f"{name}/operations/create_user.py": REPLACEMENT,
            f"{name}/operations/DeleteUser.py": operation("DeleteUser"),
            f"{name}/operations/hello.py": operation("hello"),
            f"{name}/operations/createUser.js": "export default opn;",
            f"{name}/operations/hashMD5.js": "export default opn;",
        }
    )
    (operator,) = catalog.operators.values()
    assert operator.summary() == {
        "name": "file_tools",
        "description": "Shipped.",
        "commands": ["df", "ls", "openssl_passwd_-stdin"],
        "operations": ["create_user", "delete_user", "hello"],
    }
    assert (operator.folder, operator.extension) == (shipped, folder / name)
    create = operator.operations["createuser"]
    assert (create.title, create.description) == (
        "file_tools:create_user",
        "Replaces the shipped one, which it calls.",
    )
    assert create(FakeShell().expect("echo ada", stdout="ada")) == "own ada"
    assert catalog.notices == [
        f"{folder / name} extends the shipped operator file_tools: adds cmd/df, opn/hello; "
        "replaces cmd/ls, opn/delete_user, opn/create_user",
        f"{folder / name}/operations/createUser.js: JavaScript is not run: "
        "/file_tools/opn/create_user answers instead",
        f"{folder / name}/operations/hashMD5.js: JavaScript is not run: "
        "write it again as hashMD5.py",
        f"{folder / name}: ls: form: static/ls.html is not used: the form is generated",
        f"{folder / name}/words.py: not used: the shipped module of this name is imported: "
        "rename it",
    ]


def test_only_one_folder_extends_a_shipped_operator(
    folder: Path, shipped: Path, load: Load
) -> None:
    files: dict[str, str | bytes] = {
        "file-tools/commands.yml": COMMAND,
        "file_tools/commands.yml": COMMAND,
    }
    assert refusal(load, files).startswith(
        f"{folder}/file_tools: 'file_tools' and 'file-tools' in {folder} are the same name in a URL"
    )


def test_folder_with_a_dash_is_a_package_with_an_underscore(load: Load) -> None:
    importing = """from operators.my_site import GREETING
from operators.my_site.helpers import greet
from resop import Shell, operation

@operation
def hello(shell: Shell) -> str:
    return greet(GREETING)
"""
    catalog = load(
        {
            "my-site/__init__.py": '"""Ours."""\nGREETING = "hi"\n',
            "my-site/helpers.py": "greet = str.upper\n",
            "my-site/operations/hello.py": importing,
            "plain-one/operations/say.py": operation("say"),
        }
    )
    assert [each.title for each in catalog] == ["my_site:hello", "plain_one:say"]
    hello = catalog.action("my-site", "opn", "hello")
    assert isinstance(hello, Operation) and hello(FakeShell()) == "HI"
    assert catalog.notices == []


def test_fault_in_a_package_with_a_dash_is_named(folder: Path, load: Load) -> None:
    files: dict[str, str | bytes] = {"a-b/__init__.py": "\n1 / 0\n", "a-b/commands.yml": COMMAND}
    assert refusal(load, files) == (
        f"{folder}/a-b/__init__.py:2: ZeroDivisionError: division by zero"
    )


def test_command_with_a_subcommand_answers_by_its_program_if_that_is_enough(load: Load) -> None:
    text = """
- {command: openssl, subcommand: passwd}
- {command: git, subcommand: log}
- {command: git, subcommand: show}
- {command: sh, subcommand: -c, name: echo}
"""
    catalog = load({"one/commands.yml": text})
    assert catalog.action("one", "cmd", "openssl").name == "openssl_passwd"
    for name in ("git", "sh"):
        with pytest.raises(UnknownAction):
            catalog.action("one", "cmd", name)


@pytest.mark.parametrize("name", sorted(RESERVED_PATHS))
def test_name_of_an_api_path_is_refused(load: Load, name: str) -> None:
    assert "is a path of the API" in refusal(load, {f"{name.title()}/commands.yml": COMMAND})


@pytest.mark.parametrize("name", ["9lives", "a b", "é", "_site"])
def test_folder_whose_name_is_no_name_of_an_operator_is_refused(load: Load, name: str) -> None:
    assert "rename the folder" in refusal(load, {f"{name}/commands.yml": COMMAND})


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
