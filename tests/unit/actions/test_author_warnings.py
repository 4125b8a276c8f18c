"""Warnings about what loads but is hardly meant so: files, secrets, return types, steps."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import operators
from resop.actions.author_warnings import action_warnings, find_warnings, log_warnings
from resop.actions.catalog import load_catalog
from resop.actions.secret_names import is_secret_name
from resop.actions.unread_files import unread_files
from resop.errors import BrokenOperator


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a site's folder; forget its modules afterwards."""
    monkeypatch.setattr(operators, "__path__", list(operators.__path__))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def site_warnings(site: Path, files: dict[str, str]) -> list[str]:
    write(site, files)
    return [each.removeprefix(f"{site}/") for each in find_warnings(load_catalog([site]), [site])]


HELLO = """from resop import Shell, operation

@operation
def hello(shell: Shell) -> str:
    return shell.run("hostname").stdout
"""
COMMANDS = "- command: hostname\n"


def test_shipped_operators_give_no_warnings() -> None:
    for action in load_catalog():
        assert list(action_warnings(action)) == [], action.title


# -- files that are not read


def test_misplaced_files_are_named_with_the_right_place(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, str], str]] = [
        ({"operation/hello.py": HELLO}, "operation: it is not read: the folder of operations must"),
        ({"Operations/hello.py": HELLO}, "Operations: it is not read: the folder of operations"),
        ({"opertions/hello.py": "x"}, "opertions: it is not read: the folder of operations must"),
        ({"actions/hello.py": HELLO}, "actions: it is not read: the folder of operations must"),
        ({"hello.py": HELLO}, "hello.py: it is not read: operations belong in "),
        ({"operations/more/hello.py": HELLO}, "operations/more: it is not read: operations belong"),
        ({"operations/_hello.py": HELLO}, "operations/_hello.py: it is not read, because of its"),
        (
            {"operations/hello.PY": HELLO},
            "operations/hello.PY: it is not read, because of its name",
        ),
        ({"command.yml": COMMANDS}, "command.yml: it is not read: commands belong in "),
        ({"Commands.YML": COMMANDS}, "Commands.YML: it is not read: commands belong in "),
        ({"operations/commands.yml": "- {command: id}\n"}, "operations/commands.yml: it is not"),
        ({"test/hello.yml": "- name: x\n"}, "test: it is not read: the folder of scenarios must"),
    ]
    for number, (files, warning) in enumerate(cases):
        for rest in ({}, {"commands.yml": COMMANDS, "operations/right.py": HELLO}):
            folder = tmp_path / f"{number}{len(rest)}"
            write(folder / "mysite", {**files, **rest})
            found = list(unread_files(folder))
            assert len(found) == 1, (files, found)
            assert found[0].startswith(f"{folder}/mysite/{warning}"), found


def test_files_that_belong_there_give_no_warning(tmp_path: Path) -> None:
    files = {
        "__init__.py": '"""x"""\n',
        "helpers.py": "from resop import Shell\n",
        "commands.yml": COMMANDS,
        "settings.yml": "colours: [red]\n",
        "operations/hello.py": HELLO,
        "operations/_parts.py": "X = 1\n",
        "operations/__pycache__/hello.pyc": "@operation",
        "parsers/table.py": "X = 1\n",
        "tests/hello.yml": "- name: x\n",
        "tests/test_hello.py": HELLO,
        "docs/commands.yml": COMMANDS,
    }
    write(tmp_path / "mysite", files)
    write(tmp_path, {"README.md": "", "tests/test_all.py": HELLO, ".git/hello.py": HELLO})
    assert list(unread_files(tmp_path)) == []


def test_wrong_operators_path_is_named_with_the_right_one(tmp_path: Path) -> None:
    write(tmp_path / "mysite", {"operations/hello.py": HELLO})
    assert list(unread_files(tmp_path / "mysite")) == [
        f"OPERATORS_PATH: {tmp_path}/mysite is an operator itself: name the folder above it, "
        f"{tmp_path}"
    ]
    (tmp_path / "empty").mkdir()
    [warning] = unread_files(tmp_path / "empty")
    assert warning.startswith(f"OPERATORS_PATH: {tmp_path}/empty has no operators: ")


# -- options and answers

LEAKS = """from typing import Any
from pydantic import Field
from typing_extensions import TypedDict
from typing import Annotated
import typing
from resop import Secret, Shell, operation

class Account(TypedDict):
    name: str
    apiKey: Annotated[str | None, Field(description="key")]
    secret: Secret

class Old(typing.TypedDict):
    a: int

@operation
def leaks(
    shell: Shell,
    new_password: str,
    old_password: Secret,
    tokens: list[str] | None = None,
    account: Account | None = None,
    password_file: str = "",
    ask_password: bool = False,
    secret: Annotated[str, Field(pattern="^x$")] = "x",
){answer}:
    return None
"""


def test_secret_in_an_ordinary_option_is_warned_of(site: Path) -> None:
    text = LEAKS.replace("{answer}", " -> None")
    commands = """
- command: mysql
  options:
    password: {flag: --password=}
    key: {flag: --api-key, type: string}
    hidden: {flag: --token, enabled: false}
    passphrase: {flag: "--passphrase-fd=0", secret: true}
    token: {flag: --token, type: flag}
"""
    found = site_warnings(site, {"leaky/operations/leaks.py": text, "leaky/commands.yml": commands})
    assert [each.partition(", so its")[0].partition(" in the list")[0] for each in found] == [
        "leaky/commands.yml: command mysql: every user of the login node can read the option "
        "'password'",
        "leaky/commands.yml: command mysql: every user of the login node can read the option 'key'",
        *(
            f"leaky/operations/leaks.py:16: operation leaks: the option {name!r} is ordinary text"
            for name in ("new_password", "tokens", "apiKey", "secret")
        ),
    ]


def test_names_of_secrets() -> None:
    secret = ["password", "Password2", "new-passwd", "userPassphrase", "api_key", "token"]
    assert all(map(is_secret_name, [*secret, "client_secret", "privateKey", "credentials"]))
    plain = ["password_file", "token_count", "key", "tokenizer", "secretary", "passport"]
    assert not any(map(is_secret_name, [*plain, "pwd", "compass", "public_key"]))


def test_missing_or_undescribable_return_type_is_warned_of(site: Path) -> None:
    text = (
        "from resop import Shell, operation\n\n@operation\ndef {name}(shell: Shell){answer}: ...\n"
    )
    answers = {"none": "", "shell": " -> Shell", "any": ' -> "object"', "right": " -> None"}
    files = {
        f"answers/operations/{name}.py": text.format(name=name, answer=answer)
        for name, answer in answers.items()
    }
    found = site_warnings(site, files)
    assert [each.partition(", ")[0] for each in found] == [
        "answers/operations/none.py:3: operation none: no return type is declared",
        "answers/operations/shell.py:3: operation shell: the return type cannot be described in "
        "JSON",
    ]


# -- steps

STEPS = """from shlex import quote
import shlex
from resop import Shell, operation

LINE = "uptime"

@operation
def steps(shell: Shell, name: str) -> None:
    shell.run("ls -l")
    shell.run("cd", name)
    shell.run("module", "load", "gcc")
    shell.run("ls", "~")
    shell.run("ls", "-l", "|", "wc")
    with shell.undone_by(f"rm {name}"):
        shell.script(f"mkdir {name}")
    shell.script("rm " + name)
    shell.script("rm %s" % name)
    shell.script("rm {}".format(name))
    shell.script(" ".join(["rm", name]) + "; ls")
    shell.setting("PORTAL_PASSWORD")
    # These are right.
    shell.setting("PASSWORD_FILE", "/etc/secret")
    shell.script(LINE + " | wc")
    shell.script(f"{LINE} {quote(name)} {shlex.quote(name)}")
    shell.script("ls ~ | wc")
    shell.script(shlex.join(["rm", name]))
    shell.run("ls", f"~{name}", "a b", "/bin/|", check=False)
    shell.run(name, "a|b")
"""


def test_steps_that_take_run_for_a_shell_are_warned_of_with_their_line(site: Path) -> None:
    found = site_warnings(site, {"stepping/operations/steps.py": STEPS})
    begin = "stepping/operations/steps.py:7: operation steps: line "
    assert [each.removeprefix(begin)[:38] for each in found] == [
        "9: run() takes a program and its argum",
        "10: 'cd' is a word of the shell, and r",
        "11: 'module' is a word of the shell, a",
        "12: run() starts no shell, so '~' is p",
        "13: run() starts no shell, so '|' is p",
        "14: undone_by() takes a program and it",
        *(f"{line}: script() gets a line that is built" for line in (15, 16, 17, 18, 19)),
        "20: setting() returns PORTAL_PASSWORD ",
    ]
    assert found[0].endswith("one by one: run('ls', '-l'), or use script()")
    assert found[1].endswith("use cwd=, or script()")


def test_warnings_are_logged(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(site, {"quiet/operation/hello.py": HELLO})
    with caplog.at_level(logging.WARNING):
        log_warnings(load_catalog([site]), [site])
    [record] = caplog.records
    assert record.getMessage().startswith(f"operators: {site}/quiet/operation: it is not read: ")


# -- libraries


def test_missing_module_is_named_with_file_and_remedy(site: Path) -> None:
    cases = {
        "import no_such_library.part\n": "the library with the module 'no_such_library' is not",
        "from wanting.helpers import x\n": "it is operators.wanting",
        "import helpers\n": "it is operators.wanting.helpers",
        "from parts.table import x\n": "it is operators.wanting.parts",
    }
    write(site / "wanting", {"helpers.py": "x = 1\n", "parts/table.py": "x = 1\n"})
    for text, remedy in cases.items():
        write(site / "wanting", {"operations/hello.py": f"x = 1\n{text}"})
        with pytest.raises(BrokenOperator) as refusal:
            load_catalog([site])
        message = refusal.value.message
        assert message.startswith(f"{site}/wanting/operations/hello.py:2: No module named '"), text
        assert f"': {remedy}" in message, message
    write(site / "wanting", {"operations/hello.py": "import gone\n", "requirements.txt": "gone\n"})
    with pytest.raises(BrokenOperator, match=r"-m pip install --requirement \S+/requirements.txt"):
        load_catalog([site])
