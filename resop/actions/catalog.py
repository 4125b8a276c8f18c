"""Load the operators, the shipped ones and those in the site's own folders, and look up actions.

Broken files stop start-up; the message lists the faults of all of them with file and line.
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
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from resop.actions.catalog_digest import folders_digest
from resop.actions.command import Command
from resop.actions.commands_file import read_commands
from resop.actions.missing_modules import missing_module_hint
from resop.actions.operation import Operation
from resop.actions.site_packages import add_package, extend_package, import_file
from resop.errors import BrokenOperator, UnknownAction
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
        "approvals",
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
FOLDER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
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
    extension: Path | None = None
    """The site's folder whose actions were added to those of a shipped operator."""
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

    def __init__(self, operators: Iterable[Operator] = ()) -> None:
        self.operators = {lookup_key(each.name): each for each in operators}
        self.notices: list[str] = []
        """Sentences for the person who runs the service, on the operators of the site."""

    @cached_property
    def digest(self) -> str:
        """The digest of all operators, as their files were when it was first asked for."""
        found = [(each.folder, each.extension) for each in self.operators.values()]
        return folders_digest(folder for pair in found for folder in pair if folder is not None)

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
        if kind == "cmd" and (command := _command_of_program(owner, name)):
            return command
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
    """Load the shipped operators, and those in `site_folders`, which may extend a shipped one.

    Raises BrokenOperator, which lists all faults with file and line, for files that cannot be
    loaded and for names that differ in case, '-' and '_' only.
    """
    operators = _operators_package()
    catalog, faults = Catalog(), list[str]()
    shipped = Path(operators.__path__[0])
    for folder in [shipped, *site_folders]:
        if not folder.is_dir():
            raise BrokenOperator(f"OPERATORS_PATH: {folder} is not a folder")
        if str(folder) not in operators.__path__:
            # Let a site write `from operators.mysite.operations.hello import hello`, too.
            operators.__path__.append(str(folder))
            importlib.invalidate_caches()
        for each in _operator_folders(folder, faults):
            with _collected(faults):
                _add_operator(catalog, each, faults, is_shipped=folder == shipped)
    if faults:
        raise BrokenOperator.of(faults)
    return catalog


@contextmanager
def _collected(faults: list[str]) -> Iterator[None]:
    """Add the message of a BrokenOperator to the faults instead of raising it."""
    try:
        yield
    except BrokenOperator as fault:
        faults.append(fault.message)


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


def _operator_folders(folder: Path, faults: list[str]) -> Iterator[Path]:
    for each in sorted(folder.iterdir()):
        if (misnamed := each / "commands.yaml").is_file():
            faults.append(f"{misnamed}: the file must be named commands.yml")
        elif (each / "commands.yml").is_file() or (each / "operations").is_dir():
            yield each


def _add_operator(catalog: Catalog, folder: Path, faults: list[str], *, is_shipped: bool) -> None:
    """Load a folder as a new operator, or as an extension of the shipped one of its name."""
    if not FOLDER_NAME.fullmatch(folder.name):
        raise BrokenOperator(
            f"{folder}: the name of an operator has letters, digits, '_' and '-', and begins with "
            "a letter: rename the folder"
        )
    key = lookup_key(folder.name)
    if key in RESERVED_PATHS:
        raise BrokenOperator(f"{folder}: /{folder.name} is a path of the API: use another name")
    base = catalog.operators.get(key)
    if base is None:
        name = folder.name.replace("-", "_")
        if name != folder.name:
            with _import_faults(folder / "__init__.py"):
                add_package(name, folder)
        operator = catalog.operators[key] = _load_operator(name, folder, faults)
    elif is_shipped or base.extension or not _is_shipped(base):
        older = base.extension or base.folder
        raise BrokenOperator(
            f"{folder}: {folder.name!r} and {older.name!r} in {older.parent} are the same name in "
            "a URL (case, '-' and '_' are ignored): put them into one folder, or rename one"
        )
    else:
        extend_package(base.name, folder)
        operator = base
        extension = _load_operator(base.name, folder, faults, shipped=base)
        catalog.notices += _extend(base, extension)
    if not is_shipped:
        catalog.notices += _unused_files(operator, folder)


def _is_shipped(operator: Operator) -> bool:
    return operator.folder.parent == Path(_operators_package().__path__[0])


def _load_operator(
    name: str, folder: Path, faults: list[str], shipped: Operator | None = None
) -> Operator:
    operator = Operator(name, "", folder)
    with _collected(faults):
        operator.description = _read_description(folder)
    commands = folder / "commands.yml"
    if commands.is_file():
        with _collected(faults):
            for line, command in read_commands(name, commands):
                with _collected(faults):
                    _add(operator.commands, command.name, command, f"{commands}:{line}")
    for file in sorted((folder / "operations").glob("*.py")):
        if not file.name.startswith("_"):
            with _collected(faults):
                operation = _load_operation(name, file, shipped)
                where = f"{file}:{operation.line}"
                _add(operator.operations, operation.name, operation, where)
    return operator


def _extend(base: Operator, extension: Operator) -> Iterator[str]:
    """Add a site's actions to a shipped operator, and yield a sentence on it."""
    base.extension = extension.folder
    base.description = extension.description or base.description
    kinds: tuple[KindCode, KindCode] = ("cmd", "opn")
    added, replaced = list[str](), list[str]()
    for kind in kinds:
        known: dict[str, Any] = base.actions(kind)
        for key, action in extension.actions(kind).items():
            if key in known:
                # The policy knows the action by this spelling.
                action.name = known[key].name
            (replaced if key in known else added).append(f"{kind}/{action.name}")
            known[key] = action
    changes = {"adds": added, "replaces": replaced}
    said = "; ".join(f"{verb} {', '.join(names)}" for verb, names in changes.items() if names)
    yield f"{extension.folder} extends the shipped operator {base.name}: {said or 'no actions'}"


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


def _unused_files(operator: Operator, folder: Path) -> Iterator[str]:
    """Yield a sentence on each file of a site that has no effect, with what to do about it."""
    for file in sorted((folder / "operations").glob("*.js")):
        if action := operator.operations.get(lookup_key(file.stem)):
            yield f"{file}: JavaScript is not run: {action.path} answers instead"
        else:
            yield f"{file}: JavaScript is not run: write it again as {file.stem}.py"
    for command in operator.commands.values():
        if isinstance(form := command.entry.form, str):
            yield f"{folder}: {command.name}: form: {form} is not used: the form is generated"
    if folder != operator.folder:
        for file in sorted(folder.glob("*.py")):
            if file.name != "__init__.py" and (operator.folder / file.name).is_file():
                yield f"{file}: not used: the shipped module of this name is imported: rename it"


def _load_operation(operator: str, file: Path, shipped: Operator | None) -> Operation[..., Any]:
    module_name = f"operators.{operator}.operations.{file.stem}"
    with _import_faults(file):
        if shipped and (shipped.folder / "operations" / file.name).is_file():
            # The shipped module keeps its name: others import it, and so may its replacement.
            module_name += "_of_site"
            module = import_file(module_name, file)
        else:
            module = importlib.import_module(module_name)
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


@contextmanager
def _import_faults(file: Path) -> Iterator[None]:
    """Raise BrokenOperator, with file and line, for whatever is raised in the block."""
    try:
        yield
    except BrokenOperator:
        raise
    except SyntaxError as fault:
        where = f"{fault.filename or file}:{fault.lineno or 1}"
        raise BrokenOperator(f"{where}: {fault.msg}") from None
    except ModuleNotFoundError as fault:
        hint = missing_module_hint(fault.name or "", file.parents[1])
        raise BrokenOperator(f"{_origin(fault, file)}: {fault}{hint}") from fault
    except (Exception, SystemExit) as fault:
        # An author's module may raise anything when it is imported.
        raise BrokenOperator(f"{_origin(fault, file)}: {type(fault).__name__}: {fault}") from fault


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
            "(case, '-' and '_' are ignored): rename one"
        )
    known[key] = new


def _command_of_program(operator: Operator, name: str) -> Command | None:
    """Return the command that runs `name` with a subcommand, if there is no other of `name`."""
    key = lookup_key(name)
    found = [
        each
        for own_key, each in operator.commands.items()
        if lookup_key(each.entry.command) == key and own_key.startswith(key)
    ]
    return found[0] if len(found) == 1 else None


def _suggestion(name: str, names: list[str], noun: str) -> str:
    by_key = {lookup_key(each): each for each in names}
    near = difflib.get_close_matches(lookup_key(name[:MAX_COMPARED]), by_key, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {by_key[near[0]]!r}?"
    return f" ({noun}s: {', '.join(sorted(names))})" if names else ""
