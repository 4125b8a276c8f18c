"""Read a YAML file so that a fault in it can be reported with its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser written in C, ten times as fast, if available."""


class InvalidYaml(Exception):
    """A fault in a YAML file, with its line."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message
        super().__init__(f"{line}: {message}")


def read_yaml(file: Path) -> tuple[Any, yaml.Node | None]:
    """Return the content of a file and its nodes for `line_of`; (None, None) if it is empty.

    Raises InvalidYaml if the file is not YAML or has a key twice, OSError if it cannot be read.
    """
    try:
        loader = YAML_LOADER(file.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        for fault in doubled_keys(root):  # before the loader merges '<<'
            raise fault
        return (loader.construct_document(root) if root else None), root
    except (yaml.YAMLError, ValueError, RecursionError) as invalid:
        raise syntax_fault(invalid) from None


def syntax_fault(fault: Exception) -> InvalidYaml:
    """Return what the parser reports, with the line that has to be changed."""
    if not isinstance(fault, yaml.MarkedYAMLError):
        # It is not UTF-8, or has an invalid date or endless nesting.
        return InvalidYaml(1, " ".join(str(fault).split()))
    mark = fault.problem_mark
    if fault.context == "while scanning a simple key":  # the parser has read on to the next line
        mark = fault.context_mark
    return InvalidYaml(mark.line + 1 if mark else 1, str(fault.problem or fault))


def line_of(node: yaml.Node | None, place: Sequence[int | str]) -> int:
    """Return the line of the innermost part of `place` that the file has."""
    line = node.start_mark.line + 1 if node else 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):  # of equal keys, the last one counts
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and str(part).isdecimal():
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line


def doubled_keys(node: yaml.Node | None) -> Iterator[InvalidYaml]:
    """Yield a fault for each key that occurs twice: the parser would silently keep the last."""
    if not isinstance(node, yaml.CollectionNode):
        return
    lines: dict[str, int] = {}
    for each in node.value:
        if isinstance(node, yaml.MappingNode):
            key, each = each
            name, line = f"{key.tag} {key.value}", key.start_mark.line + 1
            if name in lines and key.tag != "tag:yaml.org,2002:merge":
                first = lines[name]
                yield InvalidYaml(
                    line, f"{key.value!r} occurs twice, first in line {first}: remove one"
                )
            lines.setdefault(name, line)
        yield from doubled_keys(each)
