"""Commands of the operator `utils`, run on this machine."""

import subprocess

import pytest

from resop.actions.catalog import load_catalog
from resop.actions.options import check_options

CATALOG = load_catalog()


@pytest.mark.parametrize(
    "words",
    [["-rf", "; id", "$(id)", "`id`"], ["-n"], ["-e", "a\\tb"], ["--help"], ["--"], ["%s\n'\""]],
)
def test_echo_prints_hostile_words_as_they_are(words: list[str]) -> None:
    echo = CATALOG.command("utils", "echo")
    argv = echo.invocation(check_options(echo.options, {"input": words})).argv
    printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert printed == " ".join(words) + "\n"
