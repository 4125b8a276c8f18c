"""The program that runs on login nodes, taken by itself."""

import ast
import os
import subprocess
import sys

import pytest

from resop import runner
from resop.remote import runner as remote


def test_program_is_python_3_6() -> None:
    ast.parse(runner.SOURCE, feature_version=(3, 6))
    standard = {n.name for n in ast.walk(ast.parse(runner.SOURCE)) if isinstance(n, ast.alias)}
    assert standard - {
        "Any",
        "Callable",
        "Dict",
        "List",
        "Mapping",
        "Optional",
        "Set",
        "Tuple",
    } <= set(sys.stdlib_module_names)


def test_program_does_not_go_on_after_nonsense() -> None:
    done = subprocess.run(
        [sys.executable, remote.__file__, "mark"],
        input=remote.frame(1, 1, b"[]") + os.urandom(100),
        capture_output=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"not understood")


def test_frames_come_out_as_they_went_in() -> None:
    sent = [(kind, kind * 7, os.urandom(kind * 40)) for kind in range(1, 60)]
    data = b"".join(remote.frame(*each) for each in sent)
    for step in (1, 7, 100, len(data)):
        frames = remote.Frames()
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        assert [each for piece in pieces for each in frames.feed(piece)] == sent
    with pytest.raises(ValueError, match="a frame of"):
        remote.Frames(10).feed(remote.frame(1, 1, bytes(11)))
