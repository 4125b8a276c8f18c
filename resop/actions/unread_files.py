"""Find files in a site's folder of operators that the catalog does not read, but were meant for it.

A misspelt name would otherwise load as nothing, without a word.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

COMMANDS = "commands.yml"
OPERATIONS = "operations"
TESTS = "tests"

_OPERATION = re.compile(r"^@(?:resop\.)?operation\b", re.MULTILINE)
_COMMAND = re.compile(r"^- *\{? *[\"']?command[\"']? *:", re.MULTILINE)
_MAX_BYTES = 1 << 20
"""Larger files are not looked into."""


def unread_files(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file or folder below an entry of OPERATORS_PATH that is skipped."""
    if _is_operator(folder):
        yield (
            f"OPERATORS_PATH: {folder} is an operator itself: name the folder above it, "
            f"{folder.parent}"
        )
        return
    operators = [each for each in _subfolders(folder) if each.name != TESTS]
    found = [warning for each in operators for warning in _in_operator(each)]
    yield from found
    if not found and not any(map(_is_operator, operators)):
        yield (
            f"OPERATORS_PATH: {folder} has no operators: each is a folder in it, with a file "
            f"{COMMANDS} or a folder {OPERATIONS}"
        )


def _is_operator(folder: Path) -> bool:
    return (folder / COMMANDS).is_file() or (folder / OPERATIONS).is_dir()


def _in_operator(folder: Path) -> Iterator[str]:
    """Yield the warnings about the folder of one operator."""
    for file in _files(folder, ".yml", ".yaml"):
        if file.name != COMMANDS and _contains(file, _COMMAND):
            yield f"{file}: it is not read: commands belong in {folder / COMMANDS}"
    for file in _files(folder, ".py"):
        if _contains(file, _OPERATION):
            yield f"{file}: it is not read: operations belong in {folder / OPERATIONS}"
    for inner in _subfolders(folder):
        if inner.name == OPERATIONS:
            yield from _in_operations(inner)
        elif inner.name != TESTS:
            yield from _in_other_folder(inner)


def _in_operations(folder: Path) -> Iterator[str]:
    for file in _files(folder, ".yml", ".yaml"):
        if _contains(file, _COMMAND):
            yield f"{file}: it is not read: commands belong in {folder.parent / COMMANDS}"
    for file in sorted(folder.iterdir()):
        is_named = file.suffix == ".py" and not file.name.startswith("_")
        if file.is_file() and not is_named and _contains(file, _OPERATION):
            reason = "'_' begins the names of helpers" if file.suffix == ".py" else "no '.py'"
            yield f"{file}: it is not read, because of its name ({reason})"
    for inner in _subfolders(folder):
        if any(_contains(file, _OPERATION) for file in _files(inner, ".py")):
            yield f"{inner}: it is not read: operations belong directly in {folder}"


def _in_other_folder(folder: Path) -> Iterator[str]:
    """Yield a warning about a folder that was meant to be `operations` or `tests`."""
    near = difflib.get_close_matches(folder.name.lower(), (OPERATIONS, TESTS), n=1, cutoff=0.75)
    if any(_contains(file, _OPERATION) for file in _files(folder, ".py")) or (
        near == [OPERATIONS] and any(_files(folder, ".py"))
    ):
        yield f"{folder}: it is not read: the folder of operations must be named {OPERATIONS!r}"
    elif near == [TESTS] and any(_files(folder, ".yml")):
        yield f"{folder}: it is not read: the folder of scenarios must be named {TESTS!r}"


def _subfolders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and each.name[0] not in "._")


def _files(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(
        each
        for each in folder.iterdir()
        if each.suffix.lower() in suffixes and each.name[0] != "." and each.is_file()
    )


def _contains(file: Path, pattern: re.Pattern[str]) -> bool:
    try:
        if file.stat().st_size > _MAX_BYTES:
            return False
        return bool(pattern.search(file.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return False
