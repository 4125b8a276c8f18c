"""Pack the modules of `resop/ssh/runner/remote` into the one program that a login node is sent.

Docstrings and comments are removed, lines keep their numbers, and the result is compressed, so
that it fits into TCP's initial window of ten packets (RFC 6928).
"""

from __future__ import annotations

import ast
import io
import tokenize
import zlib
from pathlib import Path
from types import ModuleType

from resop.ssh.runner.remote import (
    bash_state,
    child,
    event_loop,
    main,
    processes,
    protocol,
    shell,
    spool,
    step_loop,
    supervisor,
)

MODULES = (
    *(protocol, processes, child, bash_state, shell),
    *(event_loop, step_loop, spool, supervisor, main),
)
"""In dependency order: on the node no other module of resop can be imported."""

_LOADER = """\
import sys, types
for name, text in {modules!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.main()
"""


def source(module: ModuleType) -> str:
    """Return a module's text without docstrings and comments; its lines keep their numbers."""
    text = Path(str(module.__file__)).read_text("utf-8")
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str()), end_lineno=int(end)):
                # A function may consist of nothing but its docstring.
                lines[node.lineno - 1] = " " * node.col_offset + "pass"
                lines[node.lineno : end] = [""] * (end - node.lineno)
    return "\n".join(lines) + "\n"


def pack() -> bytes:
    """Return the program, compressed by zlib."""
    modules = [(each.__name__, source(each)) for each in MODULES]
    return zlib.compress(_LOADER.format(modules=modules).encode(), 9)


PROGRAM = pack()
