"""`resop yamlize` on real programs."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.yamlize import read_help, yamlize
from resop.actions.catalog import load_catalog
from resop.actions.options import check_options
from resop.errors import SetupError
from tests.support.needs import need


def test_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no-such-program: No such file"):
        read_help(["no-such-program"], None, None)
    with pytest.raises(SetupError, match="no-such-file: No such file"):
        read_help(["ls"], None, str(tmp_path / "no-such-file"))


def test_program_that_tells_no_option_is_quoted() -> None:
    with pytest.raises(SetupError, match="cannot access"):
        read_help(["sh", "-c", "ls /nonsense >&2; exit 1"], None, None)


JSON_TOOL = (sys.executable, "-m json.tool")


@pytest.mark.parametrize(
    ("command", "subcommand", "options", "input"),
    [
        ("ls", "", {"all": True, "sort": "size", "color": "never"}, ["."]),
        ("cp", "", {"recursive": True, "preserve": "mode"}, ["a b", "c"]),
        ("tar", "", {"create": True, "file": "-", "directory": "."}, ["a b"]),
        ("grep", "", {"max_count": "1", "regexp": "x", "color": True}, ["a b"]),
        ("rsync", "", {"archive": True, "exclude": "*.o"}, ["a b", "c"]),
        (*JSON_TOOL, {"sort_keys": True, "indent": "2"}, ["a b"]),
    ],
)
def test_entry_of_a_real_program_loads_and_runs(
    tmp_path: Path,
    command: str,
    subcommand: str,
    options: dict[str, Any],
    input: list[str],
) -> None:
    need(None if shutil.which(command) else f"{command} is not installed")
    text = read_help([command, *subcommand.split()], None, None)
    entry = yamlize(command, subcommand, text)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "commands.yml").write_text(entry)
    (it,) = load_catalog([tmp_path]).operator("ours").commands.values()
    (tmp_path / "a b").write_text('{"x": 1}\n')
    invocation = it.invocation(check_options(it.options, {**options, "input": input}))
    subprocess.run(invocation.argv, cwd=tmp_path, check=True, capture_output=True)
