"""What is fed to a login node's python3: the modules of `resop/remote` as one text."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from resop.ssh.runner.remote import child, event_loop, main, processes, protocol, spool, supervisor

MODULES = (protocol, processes, child, event_loop, spool, supervisor, main)
"""Each behind those that it imports: there nothing but these can be found."""

_PROGRAM = """\
import sys, types
for name, text in {texts!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.main()
"""


def _text(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text("utf-8")


SOURCE = _PROGRAM.format(texts=[(each.__name__, _text(each)) for each in MODULES]).encode()
