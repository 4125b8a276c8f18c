"""A site's own operators, in a folder outside the tree: found, called, and refused by name."""

import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.support.openssh import OpenSSH
from tests.support.service import ENVIRON, RESOP, Caller, write_config
from tests.support.services import HOST, free_port

GOOD = """- command: sort
"""
NO_YAML = """- command: sort
  options: {reverse: --reverse
- command: id
"""
WRONG_KEY = """- command: sort
  options:
    reverse:
      flag: --reverse
      tipe: flag
"""
NO_PYTHON = """from resop import Shell, operation


@operation
def shout(shell: Shell) -> str
    return "x"
"""
NO_SHELL = """from resop import Shell, operation


@operation
def shout(name: str) -> str:
    return name
"""


def test_command_and_operation_of_a_site_answer_like_shipped_ones(
    alice: Caller, ssh: OpenSSH
) -> None:
    listed = alice.http.get("/operators").json()["operators"]
    assert {
        "name": "mysite",
        "description": "A site's own operator, as it stands in a folder outside the tree.",
        "commands": ["sort"],
        "operations": ["blunder", "trail", "whisper"],
    } in listed
    answer = alice.post("mysite/cmd/sort", {"reverse": True, "stdin": "a\nc\nb\n"})
    assert (answer.status_code, answer.json()["output"]) == (200, "c\nb\na\n")
    name = f"site's trail {uuid.uuid4()}"
    answer = alice.post("mysite/opn/trail", {"file": name, "steps": 4})
    assert (answer.status_code, answer.json()["output"]) == (200, 4)
    assert (ssh.home("alice") / name).read_text() == "0\n1\n2\n3\n"


def operators(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = folder / "operators" / "broken" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder / "operators"


def run(folder: Path, command: str, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `resop COMMAND` with operators of these files until it ends by itself."""
    settings = {"OPERATORS_PATH": operators(folder, files), "CLUSTER_ADDRESS": HOST}
    write_config(folder, {**settings, "PORT": free_port(), "DATA_DIR": folder / "data"})
    return subprocess.run(
        [*RESOP, command],
        cwd=folder,
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "file", "content", "line"),
    [
        ("check", "commands.yml", NO_YAML, 3),
        ("check", "commands.yml", WRONG_KEY, 5),
        ("check", "operations/shout.py", NO_PYTHON, 5),
        ("check", "operations/shout.py", NO_SHELL, 4),
        ("api", "operations/shout.py", NO_PYTHON, 5),
        ("api", "commands.yml", NO_YAML, 3),
        ("worker", "operations/shout.py", NO_PYTHON, 5),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_broken_file_stops_the_start_and_is_named_with_its_line(
    folder: Path, command: str, file: str, content: str, line: int
) -> None:
    own = Path(tempfile.mkdtemp(dir=folder))
    done = run(own, command, {"commands.yml": GOOD, file: content})
    assert done.returncode == 1
    assert f"{own}/operators/broken/{file}:{line}: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr + done.stdout
    if command != "worker":  # Celery warns root
        assert len(done.stderr.splitlines()) == 1


def test_check_lists_what_it_found(folder: Path) -> None:
    done = run(folder / "whole", "check", {"commands.yml": GOOD})
    assert done.returncode == 0
    assert "clusters: cluster\n" in done.stdout
    assert f"broken: 1 commands, 0 operations ({folder}/whole/operators/broken)\n" in done.stdout
