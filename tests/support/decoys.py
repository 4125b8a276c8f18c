"""Folders with the names of our packages, as a site may have them."""

from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("api", "worker", "operators", "cli")
MODULE = 'raise RuntimeError("a decoy was imported")\n'


def make_decoys(folder: Path, names: Iterable[str] = PACKAGES, *, regular: bool = True) -> None:
    """Make folders whose modules fail when imported; `regular` ones have an __init__.py."""
    for name in names:
        decoy = folder / name
        (decoy / "auth" / "operations").mkdir(parents=True)
        for module in ("main", "demo_node", "commands", "auth/operations/login"):
            (decoy / f"{module}.py").write_text(MODULE)
        if regular:
            (decoy / "__init__.py").write_text(MODULE)
