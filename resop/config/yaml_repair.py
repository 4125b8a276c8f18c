"""Find every syntax fault of a YAML file: repair each in memory as its author would, and read on.

A YAML parser stops at the first fault. The repaired text is never used for anything but finding the
faults that follow; what was repaired becomes the advice in the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from resop.config.yaml_loader import YAML_LOADER, InvalidYaml, syntax_fault

MAX_FAULTS = 50
_VALUE = re.compile(r"(\s*(?:- +)?[^\s'\"#&*!|>%@`\[\]{},-][^:]*:[ \t]+)([^\s{\[|>].*)")
"""A key with a value on its line."""
_NO_BLANK = re.compile(r":(?=[,}\]])")
_CLOSING = {"mapping": "}", "sequence": "]"}
_DOCUMENT_MARKS = ("---", "...")


def read_repaired(text: str) -> tuple[yaml.Node | None, list[InvalidYaml]]:
    """Return the nodes of a YAML text, repaired where needed, and its syntax faults.

    Each fault says how to repair it, if that was found. There are no nodes if one could not
    be repaired.
    """
    lines, faults = text.split("\n"), list[InvalidYaml]()
    while len(faults) < MAX_FAULTS:
        root, error = _compose(lines)
        if error is None:
            return root, faults
        fault = syntax_fault(error)
        for advice, repaired in _repairs(lines, fault.line - 1, error):
            if _is_repaired(lines, repaired, error):
                message = f"{fault.message}: {advice}" if advice else fault.message
                faults.append(InvalidYaml(fault.line, message))
                lines = repaired
                break
        else:
            return None, [*faults, fault]
    return None, faults


def _compose(lines: list[str]) -> tuple[yaml.Node | None, Exception | None]:
    try:
        return YAML_LOADER("\n".join(lines)).get_single_node(), None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        return None, fault


def _is_repaired(lines: list[str], repaired: list[str], error: Exception) -> bool:
    """Return True if the text has no fault any more, or its first one comes later."""
    following = _compose(repaired)[1]
    if following is None:
        return True
    (line, column), (next_line, next_column) = _position(error), _position(following)
    if lines[line - 1 : line] != repaired[line - 1 : line]:  # columns have changed
        return next_line > line
    return (next_line, next_column) > (line, column)


def _position(error: Exception) -> tuple[int, int]:
    """Return the line of a fault, and the column where the parser noticed it."""
    mark = getattr(error, "problem_mark", None)
    return syntax_fault(error).line, mark.column if mark else 0


def _repairs(lines: list[str], number: int, error: Exception) -> Iterator[tuple[str, list[str]]]:
    """Yield texts that repair a fault, the likeliest first, each with the advice to the author."""
    context = getattr(error, "context", None) or ""
    if closing := _CLOSING.get(context.removeprefix("while parsing a flow ")):
        opened = error.context_mark.line  # type: ignore[attr-defined] # of a MarkedYAMLError
        repaired = _with_line(lines, opened, lines[opened] + closing)
        yield f"close what begins in line {opened + 1} with '{closing}'", repaired
    line = lines[number] if number < len(lines) else ""
    if line.strip() and not line.startswith(_DOCUMENT_MARKS):
        for advice, instead in _lines_instead(lines, number):
            yield advice, _with_line(lines, number, instead)


def _lines_instead(lines: list[str], number: int) -> Iterator[tuple[str, str]]:
    line = lines[number]
    content, own = line.strip(), _indent(line)
    if "\t" in line:
        yield "indent it with spaces, not with tabs", line.replace("\t", "  ")
    if _NO_BLANK.search(line):
        yield "put a space after each ':'", _NO_BLANK.sub(": ", line)
    if found := _VALUE.fullmatch(line):
        quoted = found[2].strip().replace("'", "''")
        yield "put the value in quotes", f"{found[1]}'{quoted}'"
    for other, nearest in _indents_before(lines, number):
        if other != own:
            yield f"indent it by {_spaces(other)}, like line {nearest}", " " * other + content
    before = _previous(lines, number)
    if before is not None:
        deeper = " " * (_indent(lines[before]) + 2) + content
        yield f"indent it further, if it continues line {before + 1}", deeper
    yield "", ""


def _with_line(lines: list[str], number: int, line: str) -> list[str]:
    return [*lines[:number], line, *lines[number + 1 :]]


def _indents_before(lines: list[str], number: int) -> list[tuple[int, int]]:
    """Return the indents in use above a line, nearest to its own first, each with its last line."""
    own, last = _indent(lines[number]), dict[int, int]()
    for place in range(number):
        if (content := lines[place].strip()) and not content.startswith("#"):
            last[_indent(lines[place])] = place + 1
            if content.startswith("- "):  # the keys of an entry line up behind it
                last[_indent(lines[place]) + 2] = place + 1
    return sorted(last.items(), key=lambda each: (abs(each[0] - own), -each[1]))[:4]


def _previous(lines: list[str], number: int) -> int | None:
    return next((each for each in range(number - 1, -1, -1) if lines[each].strip()), None)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _spaces(number: int) -> str:
    return "no space" if number == 0 else "1 space" if number == 1 else f"{number} spaces"
