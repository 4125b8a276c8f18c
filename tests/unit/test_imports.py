"""The modules that an operator may import; contracts in pyproject.toml check all other imports."""

from __future__ import annotations

import ast
from pathlib import Path

import resop

ROOT = Path(__file__).parents[2]
PUBLIC = {*(f"resop.{name}" for name in resop.__all__), "resop.errors", "resop.limits"}


def imports(file: Path) -> set[str]:
    """Return the full names of all imports in a file, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def private(names: set[str]) -> set[str]:
    """Return the names of resop that are not part of its public API."""
    ours = {name for name in names if name.partition(".")[0] == "resop"}
    return {name for name in ours if name not in PUBLIC and name.rpartition(".")[0] not in PUBLIC}


def test_operators_import_only_the_public_api_of_resop() -> None:
    files = sorted((ROOT / "operators").rglob("*.py"))
    assert len(files) > 50
    assert {file: found for file in files if (found := private(imports(file)))} == {}


def test_private_import_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text(
        "from resop import Shell, operation\nfrom resop.errors import OperationFailed\n"
        "def late():\n    from resop.storage.tasks import TaskStore\n    import resop.ssh.session\n"
    )
    assert private(imports(file)) == {"resop.storage.tasks.TaskStore", "resop.ssh.session"}
