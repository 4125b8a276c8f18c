"""The program that runs on login nodes, taken by itself."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resop.ssh.runner import remote
from resop.ssh.runner.bundle import MODULES, SOURCE
from resop.ssh.runner.remote import protocol


def test_program_is_python_3_6_and_has_all_that_it_imports() -> None:
    known = set(sys.stdlib_module_names)
    for module in MODULES:
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text(), feature_version=(3, 6))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.module in known
            elif isinstance(node, ast.Import):
                assert {each.name for each in node.names} <= known
        known.add(module.__name__)
    folder = Path(remote.__file__).parent
    assert {each.stem for each in folder.glob("*.py")} - {"__init__"} == {
        name.rpartition(".")[2] for name in known - set(sys.stdlib_module_names)
    }


def test_program_does_not_go_on_after_nonsense() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SOURCE, "mark"],
        input=protocol.frame(1, 1, b"[]") + os.urandom(100),
        capture_output=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"not understood")


def test_frames_come_out_as_they_went_in() -> None:
    sent = [(kind, kind * 7, os.urandom(kind * 40)) for kind in range(1, 60)]
    data = b"".join(protocol.frame(*each) for each in sent)
    for step in (1, 7, 100, len(data)):
        frames = protocol.Frames()
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        assert [each for piece in pieces for each in frames.feed(piece)] == sent
    with pytest.raises(ValueError, match="a frame of"):
        protocol.Frames(10).feed(protocol.frame(1, 1, bytes(11)))
