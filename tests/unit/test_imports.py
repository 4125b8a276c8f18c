"""Imports point one way: api -> resop <- worker, operators -> resop."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import resop

ROOT = Path(__file__).parents[2]
OURS = {"api", "worker", "resop", "operators", "cli", "bench", "tests"}
ALLOWED = {
    "resop": {"resop", "operators"},
    "api": {"api", "resop"},
    "worker": {"worker", "resop"},
    "operators": {"operators", "resop"},
}
FILES = [file for package in ALLOWED for file in sorted((ROOT / package).rglob("*.py"))]


def imports(file: Path) -> set[str]:
    """The full names of all that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = ".".join(file.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            names = [(here, node.module, alias.name) for alias in node.names]
            found |= {".".join(filter(None, parts)) for parts in names}
    return found


def ours(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)} & OURS


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    assert ours(file) <= ALLOWED[file.relative_to(ROOT).parts[0]]


def test_only_the_catalog_knows_where_the_operators_are() -> None:
    knowing = [
        file.name for file in FILES if file.parent.name == "resop" and "operators" in ours(file)
    ]
    assert knowing == ["catalog.py"]
    assert {
        name for name in imports(ROOT / "resop/catalog.py") if name.startswith("operators")
    } == {"operators"}, "its operations are found, not imported"


@pytest.mark.parametrize(
    "file",
    sorted((ROOT / "operators").rglob("*.py")),
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_authors_need_nothing_of_resop_but_its_front_door_its_errors_and_limits(
    file: Path,
) -> None:
    used = {name for name in imports(file) if name.partition(".")[0] == "resop"}
    inner = {name for name in used if not name.startswith(("resop.errors.", "resop.limits."))}
    assert inner <= {f"resop.{name}" for name in resop.__all__}


def test_a_forbidden_import_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "api").mkdir()
    file = tmp_path / "api/x.py"
    file.write_text("def late():\n    from worker import main\n    import cli.up as up\n")
    assert ours(file) == {"worker", "cli"}
    file.write_text("from . import errors\nfrom .deps import Here\nfrom ..worker import main\n")
    assert imports(file) == {"api.errors", "api.deps.Here", "worker.main"}
