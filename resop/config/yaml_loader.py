"""Read a YAML file so that a fault in it can be reported with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, if available


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
        loader = _YAML(file.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        _refuse_doubled_keys(root)  # before the loader merges '<<'
        return (loader.construct_document(root) if root else None), root
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 1
        raise InvalidYaml(line, str(fault.problem or fault)) from None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as fault:  # not UTF-8, an invalid date, or endless nesting
        raise InvalidYaml(1, " ".join(str(fault).split())) from None


def line_of(node: yaml.Node | None, place: tuple[int | str, ...]) -> int:
    """Return the line of the innermost part of `place` that the file has."""
    line = node.start_mark.line + 1 if node else 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _refuse_doubled_keys(node: yaml.Node | None) -> None:
    """Raise InvalidYaml for a key that occurs twice: the parser would silently keep the last."""
    if not isinstance(node, yaml.CollectionNode):
        return
    seen = set()
    for each in node.value:
        if isinstance(node, yaml.MappingNode):
            key, each = each
            name = f"{key.tag} {key.value}"
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise InvalidYaml(key.start_mark.line + 1, f"{key.value!r} occurs twice")
            seen.add(name)
        _refuse_doubled_keys(each)
