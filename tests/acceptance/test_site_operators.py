"""A site's own operators in a folder outside the source tree: run, or refused with the reason."""

import subprocess
import tempfile
import uuid
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest

from tests.support.openssh import OpenSSH
from tests.support.ports import HOST, free_port
from tests.support.service import Caller, run_resop, write_config

GOOD = """- command: sort
"""
NO_YAML = """- command: sort
  options: {reverse: {flag: --reverse}
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
        "description": "A site's own operator, in a folder outside the source tree.",
        "commands": ["sh", "sort"],
        "operations": [
            "ask",
            "blunder",
            "build",
            "expel",
            "issue",
            "journey",
            "miscount",
            "narrate",
            "prune",
            "trail",
            "wander",
            "whisper",
        ],
    } in listed
    answer = alice.post("mysite/cmd/sort", {"reverse": True, "stdin": "a\nc\nb\n"})
    assert (answer.status_code, answer.json()["output"]) == (200, "c\nb\na\n")
    name = f"site's trail {uuid.uuid4()}"
    answer = alice.post("mysite/opn/trail", {"file": name, "steps": 4})
    assert (answer.status_code, answer.json()["output"]) == (200, 4)
    assert (ssh.home("alice") / name).read_text() == "0\n1\n2\n3\n"


def test_answer_of_another_type_is_a_typed_error_and_is_undone(alice: Caller, ssh: OpenSSH) -> None:
    name = f"counted {uuid.uuid4()}"
    answer = alice.post("mysite/opn/miscount", {"name": name})
    assert answer.status_code == 500
    failed = answer.json()
    assert failed["error"]["type"] == "OperationFault"
    assert failed["error"]["message"] == (
        "mysite:miscount: the answer does not have the declared return type: output.count: must "
        "be a whole number"
    )
    fault = {"field": "output.count", "message": "must be a whole number"}
    assert failed["error"]["faults"] == [fault]
    assert failed["error"]["undone"] == [f"rm '{name}'"]
    assert not (ssh.home("alice") / name).exists()
    assert alice.task(failed["task"])["output"] == {"count": "three", "total": 3}


BROKEN = [
    ("check", "commands.yml", NO_YAML, 3),
    ("check", "commands.yml", WRONG_KEY, 5),
    ("check", "operations/shout.py", NO_PYTHON, 5),
    ("check", "operations/shout.py", NO_SHELL, 4),
    ("api", "operations/shout.py", NO_PYTHON, 5),
    ("worker", "operations/shout.py", NO_PYTHON, 5),
]

CompletedCommand = subprocess.CompletedProcess[str]


def run_with_operator(
    folder: Path, command: str, files: dict[str, str]
) -> tuple[Path, CompletedCommand]:
    """Run a resop command with an operator of these files; return its folder and the result."""
    home = Path(tempfile.mkdtemp(dir=folder))
    operator = home / "operators" / "own"
    for name, content in files.items():
        (operator / name).parent.mkdir(parents=True, exist_ok=True)
        (operator / name).write_text(content)
    settings = {"OPERATORS_PATH": home / "operators", "CLUSTER_ADDRESS": HOST}
    write_config(home, {**settings, "PORT": free_port(), "DATA_DIR": home / "data"})
    return operator, run_resop(home, command)


BrokenStarts = dict[tuple[str, str, str], Future[tuple[Path, CompletedCommand]]]


def begin_in_background(folder: Path, pool: Executor) -> BrokenStarts:
    """Run all cases of BROKEN in the background."""
    return {
        (command, file, content): pool.submit(
            run_with_operator, folder, command, {"commands.yml": GOOD, file: content}
        )
        for command, file, content, _ in BROKEN
    }


@pytest.mark.parametrize(
    ("command", "file", "content", "line"),
    BROKEN,
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_broken_file_prevents_the_start_and_is_reported_with_its_line(
    background: dict[str, BrokenStarts],
    command: str,
    file: str,
    content: str,
    line: int,
) -> None:
    operator, done = background[__name__][command, file, content].result()
    assert done.returncode == 1
    assert f"{operator / file}:{line}: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr + done.stdout
    if command != "worker":  # Celery prints a warning for root
        assert len(done.stderr.splitlines()) == 1


def test_check_lists_the_clusters_and_operators_and_warns(folder: Path) -> None:
    files = {"commands.yml": GOOD, "operation/shout.py": NO_PYTHON}
    operator, done = run_with_operator(folder, "check", files)
    assert done.returncode == 0
    assert done.stderr == (
        f"warning: {operator}/operation: it is not read: the folder of operations must be named "
        "'operations'\n"
    )
    assert "clusters: cluster\n" in done.stdout
    assert f"own: 1 commands, 0 operations ({operator})\n" in done.stdout
