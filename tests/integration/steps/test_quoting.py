"""Command lines in real login shells, which are started as sshd starts them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resop.errors import InvalidOptions
from resop.steps.quoting import MAX_LINE_BYTES, display, login_shell_line, login_shell_script
from tests.support.needs import need

HOSTILE = r"""; id|$(id)|`id`|'|"|-rf|--|-|!|!!|!x|a!b|\|\\|\\\|tail\|*|?|[a-z]|{a,b}|~|~root|%s
%self|%1|\0101|\x41|\c|\n|=ls|a=b|@|^|^a^b|#|a#b|&|&&|>x|<x|$HOME|${IFS}|$|$$|(|)|é|日本|😀|a b
 |if|end|exec|'; id; '|"$(id)"|'"'"'|\'|\\ """.replace("\n", "|").split("|")
HOSTILE += ["", "||", "a\nb", "\n", "a\rb", "a\r\nb", "\t", "a\\\nb", "\x01\x1b[31m\x7f", "\u2028"]
# The login shell itself reads words without any of these signs, in single quotes.
SIGNS = set("'!\\\n\r")
PLAIN = [word for word in HOSTILE if not set(word) & SIGNS]
ONE_SIGN = [[word for word in HOSTILE if set(word) & SIGNS == {sign}] for sign in sorted(SIGNS)]


# scripts/packages installs tcsh and fish; the last two are tried where they happen to be.
SHELLS = ["sh", "bash", "dash", "tcsh", "fish", *filter(shutil.which, ["zsh", "ksh"])]


@pytest.fixture(params=SHELLS)
def login_shell(request: pytest.FixtureRequest) -> str:
    shell: str = request.param
    need(None if shutil.which(shell) else f"{shell} is not here")
    return shell


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of two fish that make their first folders at the same moment, one complains on stderr.
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a program that prints its folder, $GIVEN and its arguments, each with a NUL."""
    program = tmp_path_factory.mktemp("bin") / "receive"
    program.write_text("""#!/bin/sh\nprintf '%s\\0' "$PWD" "$GIVEN" "$@"\n""")
    program.chmod(0o755)
    return str(program)


def run(shell: str, line: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line as sshd does for `ssh host LINE`."""
    return subprocess.run(
        [shell, "-c", line],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
        timeout=20,
    )


def received(shell: str, line: str, **env: str) -> list[str]:
    done = run(shell, line, **env)
    assert (done.returncode, done.stderr) == (0, b""), line
    return done.stdout.decode().split("\x00")[:-1]


@pytest.mark.parametrize("words", [HOSTILE, PLAIN, *ONE_SIGN, [""], ["", "", "\n"], []])
def test_arguments_reach_every_login_shell_literally(
    login_shell: str, receiver: str, words: list[str]
) -> None:
    assert received(login_shell, login_shell_line([receiver, *words]))[2:] == words


@pytest.mark.parametrize("word", HOSTILE, ids=repr)
def test_each_hostile_argument_alone_is_literal(receiver: str, word: str) -> None:
    assert received("bash", login_shell_line([receiver, word]))[2:] == [word]


@pytest.mark.parametrize("shell", ["dash", "tcsh", "fish"])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_any_arguments_are_literal(shell: str, receiver: str, words: list[str]) -> None:
    need(None if shutil.which(shell) else f"{shell} is not here")
    assert received(shell, login_shell_line([receiver, *words]))[2:] == words


def test_every_hostile_word_works_as_folder_and_as_variable(
    login_shell: str, receiver: str, tmp_path: Path
) -> None:
    name = "".join(word for word in HOSTILE if "/" not in word)[:80] + "'\n!"
    folder = tmp_path / name
    folder.mkdir()
    value = "\n".join(HOSTILE)
    line = login_shell_line([receiver, "x y", "'"], cwd=str(folder), env={"GIVEN": value})
    assert received(login_shell, line) == [str(folder), value, "x y", "'"]


@pytest.mark.parametrize("name", ["-", "-P", "--", "~", "plain"])
def test_relative_folder_may_have_any_name(
    receiver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "home" / name).mkdir(parents=True)
    (tmp_path / "elsewhere" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home")
    line = login_shell_line([receiver], cwd=name)
    printed = received("sh", line, CDPATH=str(tmp_path / "elsewhere"))
    assert printed == [str(tmp_path / "home" / name), ""]


def test_missing_folder_runs_nothing(receiver: str, tmp_path: Path) -> None:
    done = run("sh", login_shell_line([receiver], cwd=str(tmp_path / "none")))
    assert done.returncode != 0
    assert done.stdout == b""


@pytest.mark.parametrize("word", ["=ls", "--flag=x", "%self", "%1", "a b", "*", ""])
def test_word_that_some_shell_expands_is_quoted(word: str) -> None:
    assert login_shell_line(["echo", word]) == f"exec echo '{word}'"


def test_the_line_replaces_the_login_shell(login_shell: str) -> None:
    argv = ["sh", "-c", 'echo "$PPID"']
    for line in (login_shell_line(argv), login_shell_line([*argv, "'"])):
        assert int(run(login_shell, line).stdout) == os.getpid()


def test_script_is_run_by_the_posix_shell_in_every_login_shell(login_shell: str) -> None:
    script = (
        """# it's\nfor word in 'a\\b!' "$#"; do\n  printf '<%s>' "$word" | tr a-z A-Z\ndone\n"""
    )
    assert run(login_shell, login_shell_script(script)).stdout == b"<A\\B!><0>"


def test_messages_of_the_shell_do_not_repeat_the_command_line() -> None:
    done = run("dash", login_shell_line(["/nonexistent/program", "it's a secret"]))
    assert done.returncode == 127
    assert b"nonexistent" in done.stderr
    assert b"secret" not in done.stderr


def test_standard_input_reaches_the_program(login_shell: str) -> None:
    for argv in (["cat"], ["cat", "--", "-"], ["sh", "-c", "cat # '"]):
        done = subprocess.run(
            [login_shell, "-c", login_shell_line(argv)],
            input=b"given\x00\n",
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"given\x00\n"


@pytest.mark.parametrize("letter", ["a", "!", "é"])
def test_longest_line_still_runs_and_a_longer_one_is_refused(login_shell: str, letter: str) -> None:
    size = (MAX_LINE_BYTES - len(login_shell_line(["echo", letter]).encode())) // (
        len(login_shell_line(["echo", letter * 2]).encode())
        - len(login_shell_line(["echo", letter]).encode())
    )
    longest = letter * (size + 1)
    assert run(login_shell, login_shell_line(["echo", longest])).stdout == longest.encode() + b"\n"
    with pytest.raises(InvalidOptions, match=rf"at most {MAX_LINE_BYTES}.*use stdin"):
        login_shell_line(["echo", longest + letter])


@pytest.mark.parametrize(
    ("argv", "options", "field"),
    [
        (["echo", "a\x00b"], {}, "argument 1"),
        (["echo", "", "\ud800"], {}, "argument 2"),
        (["echo", "a" * 131_072], {}, "argument 1"),
        (["echo"], {"cwd": "a\x00b"}, "cwd"),
        (["echo"], {"env": {"NAME": "a\x00b"}}, "env NAME"),
        (["echo"], {"env": {"-i": "x"}}, "env -i"),
        (["echo"], {"env": {"A B": "x"}}, "env A B"),
        (["echo"], {"env": {"": "x"}}, "env "),
        ([""], {}, "argument 0"),
        (["-c", "id"], {}, "argument 0"),
        (["A=b", "id"], {"env": {"X": "y"}}, "argument 0"),
        ([], {}, "argument 0"),
    ],
)
def test_invalid_argument_is_refused_by_name(
    argv: list[str], options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidOptions) as refusal:
        login_shell_line(argv, **options)  # type: ignore[arg-type]
    assert [fault["field"] for fault in refusal.value.details["faults"]] == [field]


def test_script_with_nul_is_refused() -> None:
    with pytest.raises(InvalidOptions, match="NUL"):
        login_shell_script("echo a\x00b")


def test_display_is_what_a_person_would_type() -> None:
    assert display(["echo", "a b", "it's", "$x", "-n"]) == """echo 'a b' 'it'"'"'s' '$x' -n"""
