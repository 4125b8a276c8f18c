"""Find steps of an operation that take `run` for a shell, or build a line for one from values.

Only what is written in the function itself is looked at; nothing runs.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from resop.actions.secret_names import is_secret_name

PROGRAM_METHODS = ("run", "on_failure", "undone_by")
"""The methods of a shell whose arguments are a program and its arguments."""
SHELL_SYNTAX = frozenset(["|", "||", "&&", "&", ";", ">", ">>", "<", "<<", "2>", "2>&1"])
SHELL_WORDS = frozenset(
    ["cd", "export", "source", ".", "alias", "set", "ulimit", "umask", "module"]
)
"""Words that only a shell understands. `module` is a function of the shells of many clusters."""
QUOTING = ("shlex.quote", "shlex.join", "quote")
"""The functions that make a value harmless in a line."""


def step_warnings(function: Callable[..., Any]) -> Iterator[str]:
    """Yield a sentence, with its line, for each doubtful step of an operation's function."""
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError):
        return  # there is no source, or it is not a whole statement
    shell = next(iter(inspect.signature(function).parameters), "")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda each: (each.lineno, each.col_offset)):
        if method := _method(call, shell):
            for fault in _faults(method, call.args):
                yield f"line {first + call.lineno - 1}: {fault}"


def _method(call: ast.Call, shell: str) -> str | None:
    """Return the method that a call of the shell names, else None."""
    function = call.func
    if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
        return None
    return function.attr if function.value.id == shell else None


def _faults(method: str, arguments: list[ast.expr]) -> Iterator[str]:
    if method == "script" and arguments and _is_built(arguments[0]):
        yield (
            "script() gets a line that is built from values, which a shell would interpret: use "
            "run(), or shlex.quote() for each value"
        )
    if method == "setting" and arguments and is_secret_name(_text(arguments[0]) or ""):
        yield (
            f"setting() returns {_text(arguments[0])} as ordinary text, for every user: use "
            "secret(), if it is one"
        )
    if method not in PROGRAM_METHODS or not arguments:
        return
    program, *rest = (_text(each) for each in arguments)
    if program and len(program.split()) > 1:
        yield (
            f"{method}() takes a program and its arguments one by one: "
            f"{method}({', '.join(map(repr, program.split()))}), or use script()"
        )
    elif program in SHELL_WORDS:
        remedy = "cwd=, or script()" if program == "cd" else "script()"
        yield f"{program!r} is a word of the shell, and {method}() starts none: use {remedy}"
    for text in rest:
        if text in SHELL_SYNTAX:
            yield f"{method}() starts no shell, so {text!r} is passed as it is: use script()"
        elif text and text.split("/")[0] == "~":
            yield (
                f"{method}() starts no shell, so {text!r} is passed as it is: a relative path "
                "begins at the home folder"
            )


def _text(node: ast.expr) -> str | None:
    """Return a literal text; of an f-string, its own parts with `…` for the values."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values
        )
    return None


def _is_built(node: ast.expr) -> bool:
    """Return True for a text that contains values which are not quoted."""
    if isinstance(node, ast.JoinedStr):
        values = [each.value for each in node.values if isinstance(each, ast.FormattedValue)]
        return any(_is_value(each) for each in values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return any(_is_value(each) or _is_built(each) for each in (node.left, node.right))
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "format"
        and any(_is_value(each) for each in node.args)
    )


def _is_value(node: ast.expr) -> bool:
    if isinstance(node, ast.Name) and node.id.isupper():
        return False  # a constant of the module
    return not isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp) and not _is_quoted(node)


def _is_quoted(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in QUOTING
