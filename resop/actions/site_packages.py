"""Let Python import a site's operators: new ones, and additions to the shipped ones."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


def add_package(name: str, folder: Path) -> None:
    """Make a folder importable as `operators.NAME`, whose own name Python cannot import."""
    full_name, file = f"operators.{name}", folder / "__init__.py"
    spec: ModuleSpec | None
    if file.is_file():
        spec = importlib.util.spec_from_file_location(
            full_name, file, submodule_search_locations=[str(folder)]
        )
    else:
        spec = ModuleSpec(full_name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    assert spec is not None
    _load(spec)


def extend_package(name: str, folder: Path) -> None:
    """Let Python find modules of the shipped package `operators.NAME` in a further folder."""
    package = importlib.import_module(f"operators.{name}")
    if str(folder) not in package.__path__:
        package.__path__.append(str(folder))
        importlib.invalidate_caches()


def import_file(full_name: str, file: Path) -> ModuleType:
    """Import a file as a module of this name. Raises what its code raises."""
    if full_name in sys.modules:
        return sys.modules[full_name]
    spec = importlib.util.spec_from_file_location(full_name, file)
    assert spec is not None
    importlib.import_module(full_name.rpartition(".")[0])
    return _load(spec)


def _load(spec: ModuleSpec) -> ModuleType:
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    if spec.loader is not None:
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[spec.name]
            raise
    return module
