"""The program for login nodes: which modules it holds, and that packing changes nothing else."""

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest

from resop.ssh.runner import remote
from resop.ssh.runner.bundle import MODULES, PROGRAM, pack, source

FIRST_PACKETS = 10 * 1448  # what TCP sends before the first acknowledgement (RFC 6928)


def without_docstrings(text: str) -> str:
    """Dump a module's syntax tree without string statements; an emptied body is `pass`."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            kept = [each for each in body if not is_docstring(each) and not is_pass(each)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def is_pass(node: ast.stmt) -> bool:
    return isinstance(node, ast.Pass)


def is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def test_program_is_python_3_6_and_has_all_that_it_imports() -> None:
    known = set(sys.stdlib_module_names)
    for module in MODULES:
        tree = ast.parse(source(module), feature_version=(3, 6))
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


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_source_is_the_module_without_docstrings_line_for_line(module: ModuleType) -> None:
    original = Path(str(module.__file__)).read_text()
    text = source(module)
    assert without_docstrings(text) == without_docstrings(original)
    assert len(text.splitlines()) == len(original.splitlines())
    assert '"""' not in text and "\n#" not in text


def test_program_fits_into_the_first_packets() -> None:
    assert len(PROGRAM) < FIRST_PACKETS
    assert pack() == PROGRAM
