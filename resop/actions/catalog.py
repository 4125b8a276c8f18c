"""Load the operators, the shipped ones and those in the site's own folders, and look up actions.

A broken file stops start-up; the message names the file and the line.
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
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from resop.actions.command import Command, CommandEntry
from resop.actions.operation import Operation
from resop.actions.options import option_faults
from resop.config.yaml_loader import InvalidYaml, line_of, read_yaml
from resop.errors import BrokenOperator, InvalidOptions, UnknownAction
from resop.pydantic_messages import validation_message
from resop.types import KindCode

Action = Command | Operation[..., Any]
Named = TypeVar("Named")
_NOUNS: dict[KindCode, tuple[str, KindCode]] = {
    "cmd": ("command", "opn"),
    "opn": ("operation", "cmd"),
}
"""The noun of each kind, and the other kind."""

RESERVED_PATHS = frozenset(
    [
        "tasks",
        "audit",
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
"""Paths of the API, which an operator cannot have as its name."""
MAX_COMPARED = 100
"""Characters of an unknown name that are compared with known ones, which takes long."""
OPERATOR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
SHIPPED_OPERATORS = Path(__file__).parents[2] / "operators" / "__init__.py"
"""The shipped package, which lies beside `resop`, installed and in the source tree alike."""


def lookup_key(name: str) -> str:
    """Return the key of a name: the same for names that differ in case, '-' and '_' only."""
    return name.replace("-", "").replace("_", "").lower()


@dataclass
class Operator:
    """A folder of related actions."""

    name: str
    description: str
    folder: Path
    commands: dict[str, Command] = field(default_factory=dict)
    operations: dict[str, Operation[..., Any]] = field(default_factory=dict)

    def actions(self, kind: KindCode) -> dict[str, Command] | dict[str, Operation[..., Any]]:
        """Return the operator's commands or operations by `lookup_key`."""
        return self.commands if kind == "cmd" else self.operations

    def summary(self) -> dict[str, Any]:
        """Return the entry of a list of operators."""
        return {
            "name": self.name,
            "description": self.description,
            "commands": sorted(each.name for each in self.commands.values()),
            "operations": sorted(each.name for each in self.operations.values()),
        }


class Catalog:
    """All operators. Look-ups ignore case, '-' and '_'."""

    def __init__(self, loaded: Iterable[Operator]) -> None:
        self.operators: dict[str, Operator] = {}
        for operator in loaded:
            _add(self.operators, operator.name, operator, str(operator.folder))

    def operator(self, name: str) -> Operator:
        """Return the operator of that name. Raises UnknownAction, which names the nearest."""
        if operator := self.operators.get(lookup_key(name)):
            return operator
        names = [each.name for each in self.operators.values()]
        raise UnknownAction(f"there is no operator {name!r}{_suggestion(name, names, 'operator')}")

    def action(self, operator: str, kind: KindCode, name: str) -> Action:
        """Return the command ('cmd') or operation ('opn') of that name.

        Raises UnknownAction, which names the nearest.
        """
        owner = self.operator(operator)
        actions = owner.actions(kind)
        if action := actions.get(lookup_key(name)):
            return action
        noun, other = _NOUNS[kind]
        if lookup_key(name) in owner.actions(other):
            hint = f"; did you mean /{owner.name}/{other}/{name}?"
        else:
            hint = _suggestion(name, [each.name for each in actions.values()], noun)
        raise UnknownAction(f"operator {owner.name!r} has no {noun} {name!r}{hint}")

    def api_operation(self, operator: str, kind: KindCode, name: str) -> Operation[..., Any] | None:
        """Return the operation of that name if it runs in the API process (a login), else None."""
        owner = self.operators.get(lookup_key(operator))
        action = owner.operations.get(lookup_key(name)) if owner and kind == "opn" else None
        return action if action and action.in_api else None

    def command(self, operator: str, name: str) -> Command:
        """Return the declared command of that name. Raises UnknownAction."""
        command = self.action(operator, "cmd", name)
        assert isinstance(command, Command)
        return command

    def operation(self, operator: str, name: str) -> Operation[..., Any]:
        """Return the operation of that name. Raises UnknownAction."""
        operation = self.action(operator, "opn", name)
        assert isinstance(operation, Operation)
        return operation

    def __iter__(self) -> Iterator[Action]:
        for operator in self.operators.values():
            yield from operator.commands.values()
            yield from operator.operations.values()


def load_catalog(site_folders: Iterable[Path] = ()) -> Catalog:
    """Load the shipped operators and those in `site_folders`.

    Raises BrokenOperator, which names file and line, for a file that cannot be loaded and for two
    names that differ in case, '-' and '_' only.
    """
    operators = _operators_package()
    loaded: list[Operator] = []
    for folder in [Path(operators.__path__[0]), *site_folders]:
        if not folder.is_dir():
            raise BrokenOperator(f"OPERATORS_PATH: {folder} is not a folder")
        if str(folder) not in operators.__path__:
            # Let a site write `from operators.mysite.operations.hello import hello`, too.
            operators.__path__.append(str(folder))
            importlib.invalidate_caches()
        loaded += [_load_operator(each) for each in _operator_folders(folder)]
    return Catalog(loaded)


def _operators_package() -> ModuleType:
    """Import the shipped package `operators` from its own folder.

    The module search path is not used: a folder `operators` in the current directory may come
    first in it. Raises BrokenOperator if such a folder is already imported.
    """
    package = sys.modules.get("operators")
    if package is None:
        spec = importlib.util.spec_from_file_location("operators", SHIPPED_OPERATORS)
        assert spec is not None and spec.loader is not None
        package = sys.modules["operators"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    elif package.__file__ is None or not SHIPPED_OPERATORS.samefile(package.__file__):
        folder = next(iter(package.__path__), package.__file__)
        raise BrokenOperator(
            f"{folder} was imported as 'operators', a name that resop needs for its own package: "
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
    if not OPERATOR_NAME.fullmatch(folder.name):
        raise BrokenOperator(f"{folder}: the folder needs a Python name: letters, digits and '_'")
    if lookup_key(folder.name) in RESERVED_PATHS:
        raise BrokenOperator(f"{folder}: /{folder.name} is a path of the API: use another name")
    operator = Operator(folder.name, _read_description(folder), folder)
    commands = folder / "commands.yml"
    if commands.is_file():
        for line, command in _load_commands(operator.name, commands):
            _add(operator.commands, command.name, command, f"{commands}:{line}")
    for file in sorted((folder / "operations").glob("*.py")):
        if not file.name.startswith("_"):
            operation = _load_operation(operator.name, file)
            _add(operator.operations, operation.name, operation, f"{file}:{operation.line}")
    return operator


def _read_description(folder: Path) -> str:
    """Return the docstring of the folder's __init__.py without running the file."""
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
    """Return the enabled commands of a file, each with its line."""
    try:
        entries, root = read_yaml(file)
    except InvalidYaml as fault:
        raise BrokenOperator(f"{file}:{fault.line}: {fault.message}") from None
    if entries is None:
        return []
    if not isinstance(root, yaml.SequenceNode):
        raise BrokenOperator(f"{file}:1: the file must be a list of commands: '- command: …'")
    commands = []
    for entry, node in zip(entries, root.value, strict=True):
        try:
            parsed = CommandEntry.model_validate(entry)
            if parsed.enabled:
                commands.append((node.start_mark.line + 1, Command(operator, parsed)))
        except ValidationError as fault:
            line = line_of(node, fault.errors()[0]["loc"])
            raise BrokenOperator(f"{file}:{line}: {_explain(fault)}") from None
        except InvalidOptions as fault:
            line = line_of(node, ("examples",))
            raise BrokenOperator(f"{file}:{line}: examples: {fault.message}") from None
    return commands


def _explain(fault: ValidationError) -> str:
    """Return every fault of an entry of commands.yml, in one line."""
    if not fault.errors()[0]["loc"]:
        return f"entry: {validation_message(fault.errors()[0])}"
    faults = option_faults(fault, CommandEntry, noun="key")
    return "; ".join(f"{each['field']}: {each['message']}" for each in faults)


def _load_operation(operator: str, file: Path) -> Operation[..., Any]:
    module_name = f"operators.{operator}.operations.{file.stem}"
    try:
        module = importlib.import_module(module_name)
    except BrokenOperator:
        raise
    except SyntaxError as fault:
        where = f"{fault.filename or file}:{fault.lineno or 1}"
        raise BrokenOperator(f"{where}: {fault.msg}") from None
    except (Exception, SystemExit) as fault:
        # An author's module may raise anything when it is imported.
        raise BrokenOperator(f"{_origin(fault, file)}: {type(fault).__name__}: {fault}") from fault
    declared = [
        each
        for each in vars(module).values()
        if isinstance(each, Operation) and each.module == module_name
    ]
    if len(declared) != 1:
        raise BrokenOperator(
            f"{file}:{declared[1].line if declared else 1}: "
            f"the file must have one function with @operation, but has {len(declared)}"
        )
    (operation,) = declared
    if lookup_key(operation.name) != lookup_key(file.stem):
        raise BrokenOperator(
            f"{file}:{operation.line}: the function must have the name of its file: {file.stem}, "
            f"not {operation.name}"
        )
    operation.operator = operator
    return operation


def _origin(fault: BaseException, file: Path) -> str:
    """Return the last `file:line` of an operator in the traceback, else the file's first line."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [f for f in frames if f.filename.startswith(tuple(_operators_package().__path__))]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else f"{file}:1"


def _add(known: dict[str, Named], name: str, new: Named, where: str) -> None:
    if (key := lookup_key(name)) in known:
        older = getattr(known[key], "name", name)
        raise BrokenOperator(
            f"{where}: {name!r} and {older!r} are the same name in a URL "
            "(case, '-' and '_' are ignored)"
        )
    known[key] = new


def _suggestion(name: str, names: list[str], noun: str) -> str:
    by_key = {lookup_key(each): each for each in names}
    near = difflib.get_close_matches(lookup_key(name[:MAX_COMPARED]), by_key, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {by_key[near[0]]!r}?"
    return f" ({noun}s: {', '.join(sorted(names))})" if names else ""
