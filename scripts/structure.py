#!/usr/bin/env python3
"""Measures how the code is built: rooms, imports, names, docstrings, sizes, the way of a request.

    .venv/bin/python scripts/structure.py [ROOT] [--json] [--no-request] [--list]

ROOT is a checkout, this one unless given; the way of a request is measured with its own .venv.
`--list` adds the names, functions and classes behind the figures to the table; JSON has them all.
"""

from __future__ import annotations

import argparse
import ast
import collections
import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("resop", "api", "worker", "operators", "cli")
LONG_FUNCTION = 40  # lines
MANY_METHODS = 15
MANY_FIELDS = 12
NOT_NAMES = {"main", "router", "log"}
"""Names that each module may define for itself."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = Mapping[str, Set[str]]


@dataclass(frozen=True, slots=True)
class Module:
    """A module with its syntax tree."""

    name: str
    file: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """The top-level package."""
        return self.name.partition(".")[0]


def read_modules(root: Path) -> dict[str, Module]:
    """Parse the modules of all packages, by their dotted names."""
    modules = {}
    for file in sorted(each for package in PACKAGES for each in (root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, file, ast.parse(file.read_text(encoding="utf-8")))
    return modules


# -- imports


def imports_of(module: Module, modules: Mapping[str, Module]) -> set[str]:
    """Return the modules of ours that one imports, wherever in it the import is."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            known = [".".join(p) for p in prefixes(name.split(".")) if ".".join(p) in modules]
            found |= set(known[:1])
    return found - {module.name}


def prefixes(parts: list[str]) -> Iterator[list[str]]:
    """Yield the parts, then ever fewer of them."""
    return (parts[:length] for length in range(len(parts), 0, -1))


def room_of(name: str) -> str:
    """Return the room of a module: the sub-package or module directly below its package."""
    return ".".join(name.split(".")[:2])


def levels(graph: Graph) -> int:
    """Return the number of nodes on the longest path; a cycle counts as one node."""
    component = components(graph)
    above: dict[int, set[int]] = collections.defaultdict(set)
    for name, targets in graph.items():
        above[component[name]] |= {component[each] for each in targets} - {component[name]}

    @functools.cache
    def depth(node: int) -> int:
        return 1 + max(map(depth, above[node]), default=0)

    return max(map(depth, set(component.values())), default=0)


def components(graph: Graph) -> dict[str, int]:
    """Return the number of each node's strongly connected component (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    component: dict[str, int] = {}

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in graph[node]:
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target not in component:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            while component.get(node) is None:
                component[stack.pop()] = index[node]

    for node in graph:
        if node not in index:
            visit(node)
    return component


def import_figures(package: str, modules: Mapping[str, Module]) -> dict[str, int]:
    """Count a package's rooms, import levels, and imports between rooms."""
    own = {name: module for name, module in modules.items() if module.package == package}
    graph = {name: imports_of(module, own) for name, module in own.items()}
    rooms: dict[str, set[str]] = {room_of(name): set() for name in own if name != package}
    for name, targets in graph.items():
        if name != package:
            rooms[room_of(name)] |= {room_of(each) for each in targets if each != package}
    between = {name: targets - {name} for name, targets in rooms.items()}
    without_init = {name: targets - {package} for name, targets in graph.items() if name != package}
    return {
        "modules": len([each for each in own.values() if each.file.name != "__init__.py"]),
        "rooms": len(rooms),
        "levels of rooms": levels(between),
        "levels of modules": levels(without_init),
        "imports between rooms": sum(map(len, between.values())),
    }


# -- names and sizes


def public_names(module: Module) -> Iterator[str]:
    """Yield the classes, functions and constants that a module defines for others."""
    is_operation = module.package == "operators" and ".operations." in module.name
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef | Function):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [each.id for each in node.targets if isinstance(each, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        for name in names:
            entry = is_operation and name == module.name.rpartition(".")[2]
            if not name.startswith("_") and name not in NOT_NAMES and not entry:
                yield name


def shared_names(modules: Mapping[str, Module]) -> dict[str, list[str]]:
    """Return the names that several modules define, with these; migrations do not count."""
    homes = collections.defaultdict(list)
    for module in modules.values():
        if ".versions." not in module.name:
            for name in dict.fromkeys(public_names(module)):
                homes[name].append(module.name)
    return {name: where for name, where in sorted(homes.items()) if len(where) > 1}


def long_functions(module: Module) -> Iterator[str]:
    """Yield the functions that have too many lines."""
    for node in ast.walk(module.tree):
        if isinstance(node, Function) and node.end_lineno:
            lines = node.end_lineno - node.lineno + 1
            if lines > LONG_FUNCTION:
                yield f"{module.name}:{node.name} ({lines} lines)"


def big_classes(module: Module) -> Iterator[str]:
    """Yield the classes that have too many methods or fields."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, Function)]
            fields = set(fields_of(node, methods))
            if len(methods) > MANY_METHODS or len(fields) > MANY_FIELDS:
                yield f"{module.name}:{node.name} ({len(methods)} methods, {len(fields)} fields)"


def fields_of(node: ast.ClassDef, methods: list[Function]) -> Iterator[str]:
    """Yield the fields of a dataclass or model, and what __init__ sets on self."""
    for field in node.body:
        match field:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                if "ClassVar" not in ast.unparse(annotation):
                    yield name
    for method in methods:
        for each in ast.walk(method) if method.name == "__init__" else ():
            match each:
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    yield name


def docstrings(modules: Mapping[str, Module]) -> collections.Counter[str]:
    """Count the docstrings of each package."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    counted: collections.Counter[str] = collections.Counter()
    for module in modules.values():
        for node in ast.walk(module.tree):
            counted[module.package] += isinstance(node, kinds) and bool(ast.get_docstring(node))
    return counted


def not_imperative(root: Path) -> collections.Counter[str]:
    """Count the docstrings of each package in which ruff misses the imperative (D401)."""
    ruff = [str(Path(sys.executable).with_name("ruff")), "check", "--isolated", "--select=D401"]
    ruff += ["--output-format=json", "--exit-zero", *PACKAGES]
    done = subprocess.run(ruff, cwd=root, capture_output=True, check=True)
    files = [Path(each["filename"]).relative_to(root.resolve()) for each in json.loads(done.stdout)]
    return collections.Counter(file.parts[0] for file in files)


# -- the whole


def measure(root: Path, *, request: bool) -> dict[str, Any]:
    """Measure a checkout; the way of a request only if `request`."""
    modules = read_modules(root)
    said, counted = not_imperative(root), docstrings(modules)
    packages: dict[str, dict[str, int]] = {}
    for package in PACKAGES:
        own = [module for module in modules.values() if module.package == package]
        functions = [n for module in own for n in ast.walk(module.tree) if isinstance(n, Function)]
        packages[package] = {
            **import_figures(package, modules),
            "functions": len(functions),
            "functions over 40 lines": len(list(itertools.chain(*map(long_functions, own)))),
            "classes over 15 methods or 12 fields": len(
                list(itertools.chain(*map(big_classes, own)))
            ),
            "docstrings": counted[package],
            "docstrings not imperative": said[package],
        }
    names = shared_names(modules)
    found: dict[str, Any] = {
        "packages": packages,
        "names with several meanings": len(names),
        "names": names,
        "long functions": list(itertools.chain(*map(long_functions, modules.values()))),
        "big classes": list(itertools.chain(*map(big_classes, modules.values()))),
    }
    if request:
        from request_path import measure_request  # type: ignore[import-not-found]

        found["request"] = measure_request(root, PACKAGES)
    return found


def show(found: Mapping[str, Any], *, details: bool) -> None:
    """Print the figures as a table."""
    packages = found["packages"]
    print(f"{'':38}" + "".join(f"{name:>11}" for name in (*packages, "all")))
    for figure in next(iter(packages.values())):
        values = [each[figure] for each in packages.values()]
        total = "" if figure.startswith("levels") else str(sum(values))
        print(f"{figure:38}" + "".join(f"{value:>11}" for value in [*values, total]))
    print(f"\nnames with several meanings: {found['names with several meanings']}")
    if "request" in found:
        print("\nThe way of one POST /utils/cmd/id (median of several requests)")
        for name, value in found["request"]["figures"].items():
            print(f"{name:58}{value:>8}")
    if details:
        for name, modules in found["names"].items():
            print(f"name {name}: {', '.join(modules)}")
        for kind in ("long functions", "big classes"):
            print("".join(f"{kind}: {each}\n" for each in found[kind]), end="")
        for stop in found.get("request", {}).get("path", []):
            print(f"stop {stop}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Measure how the code is built.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--list", action="store_true", help="list what the figures count")
    parser.add_argument("--no-request", action="store_true", help="start no service")
    arguments = parser.parse_args()
    found = measure(arguments.root.resolve(), request=not arguments.no_request)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, details=arguments.list)


if __name__ == "__main__":
    main()
