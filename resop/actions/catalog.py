"""Finds the operators: the shipped ones and the site's own folders, loaded the same way.

A broken file stops start-up and is named with its line.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ValidationError

from resop.actions.command import Command, CommandEntry
from resop.actions.operation import Operation
from resop.config.yaml_loader import InvalidYaml, line_of, read_yaml
from resop.errors import BrokenOperator, InvalidOptions, UnknownAction

Action = Command | Operation[..., Any]
Kind = Literal["cmd", "opn"]
Named = TypeVar("Named")

PATHS_OF_THE_API = frozenset(
    [
        "tasks",
        "batches",
        "files",
        "folders",
        "operators",
        "limits",
        "health",
        "metrics",
        "docs",
        "pages",
        "redoc",
        "openapi",
        "static",
    ]
)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
SHIPPED_OPERATORS = Path(__file__).parents[2] / "operators" / "__init__.py"
"""Installed and in the source tree alike, the package lies beside `resop`."""


def same_name(name: str) -> str:
    """What two names have in common that differ in case, '-' and '_' only."""
    return name.replace("-", "").replace("_", "").lower()


@dataclass
class Operator:
    """A folder of related actions."""

    name: str
    description: str
    folder: Path
    commands: dict[str, Command] = field(default_factory=dict)
    operations: dict[str, Operation[..., Any]] = field(default_factory=dict)

    def actions(self, kind: Kind) -> dict[str, Command] | dict[str, Operation[..., Any]]:
        """Its commands or its operations by `same_name`."""
        return self.commands if kind == "cmd" else self.operations

    def summary(self) -> dict[str, Any]:
        """One line for a listing."""
        return {
            "name": self.name,
            "description": self.description,
            "commands": sorted(each.name for each in self.commands.values()),
            "operations": sorted(each.name for each in self.operations.values()),
        }


class Catalog:
    """All operators, looked up ignoring case, '-' and '_'."""

    def __init__(self, found: Iterable[Operator]) -> None:
        self.operators: dict[str, Operator] = {}
        for operator in found:
            _add(self.operators, operator.name, operator, str(operator.folder))

    def operator(self, name: str) -> Operator:
        """The operator of that name; UnknownAction names the nearest."""
        if operator := self.operators.get(same_name(name)):
            return operator
        names = [each.name for each in self.operators.values()]
        raise UnknownAction(f"there is no operator {name!r}{_nearest(name, names)}")

    def action(self, operator: str, kind: Kind, name: str) -> Action:
        """The command ('cmd') or operation ('opn') of that name; else UnknownAction."""
        owner = self.operator(operator)
        actions = owner.actions(kind)
        if action := actions.get(same_name(name)):
            return action
        word = "command" if kind == "cmd" else "operation"
        other: Kind = "opn" if kind == "cmd" else "cmd"
        if same_name(name) in owner.actions(other):
            hint = f"; did you mean /{owner.name}/{other}/{name}?"
        else:
            hint = _nearest(name, [each.name for each in actions.values()])
        raise UnknownAction(f"operator {owner.name!r} has no {word} {name!r}{hint}")

    def api_operation(self, operator: str, kind: Kind, name: str) -> Operation[..., Any] | None:
        """The operation of that name if it runs in the API process (a login), else None."""
        owner = self.operators.get(same_name(operator))
        found = owner.operations.get(same_name(name)) if owner and kind == "opn" else None
        return found if found and found.in_api else None

    def command(self, operator: str, name: str) -> Command:
        """The declared command of that name; UnknownAction names the nearest."""
        found = self.action(operator, "cmd", name)
        assert isinstance(found, Command)
        return found

    def __iter__(self) -> Iterator[Action]:
        for operator in self.operators.values():
            yield from operator.commands.values()
            yield from operator.operations.values()


def load_catalog(site_folders: Iterable[Path] = ()) -> Catalog:
    """Load the shipped operators and those in `site_folders`.

    Raises BrokenOperator, naming file and line, for anything that cannot be loaded, and for
    two names that differ in case, '-' and '_' only.
    """
    operators = _operators_package()
    found = []
    for folder in [Path(operators.__path__[0]), *site_folders]:
        if not folder.is_dir():
            raise BrokenOperator(f"OPERATORS_PATH: {folder} is not a folder")
        if str(folder) not in operators.__path__:
            # So that `from operators.mysite.operations.hello import hello` works for a site too.
            operators.__path__.append(str(folder))
            importlib.invalidate_caches()
        found += [_load_operator(each) for each in _operator_folders(folder)]
    return Catalog(found)


def _operators_package() -> ModuleType:
    """Import the shipped package `operators` from its own place.

    The module search path is not asked: a folder `operators` in the current directory may come
    first there. Raises BrokenOperator when such a folder was imported before.
    """
    package = sys.modules.get("operators")
    if package is None:
        spec = importlib.util.spec_from_file_location("operators", SHIPPED_OPERATORS)
        assert spec is not None and spec.loader is not None
        package = sys.modules["operators"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    elif package.__file__ is None or not SHIPPED_OPERATORS.samefile(package.__file__):
        place = next(iter(package.__path__), package.__file__)
        raise BrokenOperator(
            f"{place} was imported as 'operators', a name that resop needs for its own: "
            "rename that folder"
        )
    return package


def _operator_folders(folder: Path) -> Iterator[Path]:
    for each in sorted(folder.iterdir()):
        if (misnamed := each / "commands.yaml").is_file():
            raise BrokenOperator(f"{misnamed}: the file must be named commands.yml")
        if (each / "commands.yml").is_file() or (each / "operations").is_dir():
            yield each


def _load_operator(folder: Path) -> Operator:
    if not NAME.fullmatch(folder.name):
        raise BrokenOperator(f"{folder}: an operator's folder has a Python name (letters, '_')")
    if same_name(folder.name) in PATHS_OF_THE_API:
        raise BrokenOperator(f"{folder}: the name is taken by a path of the API")
    operator = Operator(folder.name, _description(folder), folder)
    commands = folder / "commands.yml"
    if commands.is_file():
        for line, command in _load_commands(operator.name, commands):
            _add(operator.commands, command.name, command, f"{commands}:{line}")
    for file in sorted((folder / "operations").glob("*.py")):
        if not file.name.startswith("_"):
            operation = _load_operation(operator.name, file)
            _add(operator.operations, operation.name, operation, f"{file}:{operation.line}")
    return operator


def _description(folder: Path) -> str:
    """The docstring of the folder's __init__.py, read without running it."""
    file = folder / "__init__.py"
    if not file.is_file():
        return ""
    try:
        return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    except SyntaxError as fault:
        raise BrokenOperator(f"{file}:{fault.lineno or 1}: {fault.msg}") from None
    except ValueError as fault:
        raise BrokenOperator(f"{file}:1: {fault}") from None


def _load_commands(operator: str, file: Path) -> list[tuple[int, Command]]:
    """The enabled commands of a file, each with its line."""
    try:
        entries, root = read_yaml(file)
    except InvalidYaml as fault:
        raise BrokenOperator(f"{file}:{fault.line}: {fault.message}") from None
    if entries is None:
        return []
    if not isinstance(root, yaml.SequenceNode):
        raise BrokenOperator(f"{file}:1: a list of commands is expected: '- command: …'")
    commands = []
    for entry, node in zip(entries, root.value, strict=True):
        try:
            parsed = CommandEntry.model_validate(entry)
            if parsed.enabled:
                commands.append((node.start_mark.line + 1, Command(operator, parsed)))
        except ValidationError as fault:
            error = fault.errors()[0]
            line = line_of(node, error["loc"])
            place = ".".join(map(str, error["loc"])) or "entry"
            message = error["msg"].removeprefix("Value error, ")
            raise BrokenOperator(f"{file}:{line}: {place}: {message}") from None
        except InvalidOptions as fault:
            line = line_of(node, ("examples",))
            raise BrokenOperator(f"{file}:{line}: examples: {fault.message}") from None
    return commands


def _load_operation(operator: str, file: Path) -> Operation[..., Any]:
    module_name = f"operators.{operator}.operations.{file.stem}"
    try:
        module = importlib.import_module(module_name)
    except BrokenOperator:
        raise
    except SyntaxError as fault:
        place = f"{fault.filename or file}:{fault.lineno or 1}"
        raise BrokenOperator(f"{place}: {fault.msg}") from None
    except (Exception, SystemExit) as fault:
        # Whatever an author's module raises when imported is shown with the line it came through.
        raise BrokenOperator(f"{_place(fault, file)}: {type(fault).__name__}: {fault}") from fault
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, Operation) and each.module == module_name
    ]
    if len(found) != 1:
        raise BrokenOperator(
            f"{file}:{found[1].line if found else 1}: "
            f"one function with @operation is expected, not {len(found)}"
        )
    if same_name(found[0].name) != same_name(file.stem):
        raise BrokenOperator(
            f"{file}:{found[0].line}: the function must be named as its file: {file.stem}, "
            f"not {found[0].name}"
        )
    found[0].operator = operator
    return found[0]


def _place(fault: BaseException, file: Path) -> str:
    """The last line in an operator's file that a fault came through, else the file's first."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [f for f in frames if f.filename.startswith(tuple(_operators_package().__path__))]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else f"{file}:1"


def _add(known: dict[str, Named], name: str, new: Named, where: str) -> None:
    if (key := same_name(name)) in known:
        older = getattr(known[key], "name", name)
        raise BrokenOperator(
            f"{where}: {name!r} and {older!r} are the same name in a URL "
            "(case, '-' and '_' do not count)"
        )
    known[key] = new


def _nearest(name: str, names: list[str]) -> str:
    by_key = {same_name(each): each for each in names}
    near = difflib.get_close_matches(same_name(name), by_key, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {by_key[near[0]]!r}?"
    return f"; there is {', '.join(sorted(names))}" if names else ""
