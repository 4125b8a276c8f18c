"""The site's own step in docs/hpccenter.md is an operation, and is undone with the creation."""

import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resop import CommandFailed, Operation, Shell
from resop.actions.catalog import Catalog, Operator, load_catalog
from resop.testing import FakeShell

PAGE = Path(__file__).parents[3] / "docs" / "hpccenter.md"


def documented_step(monkeypatch: pytest.MonkeyPatch) -> Operation[..., Any]:
    found = re.search(
        r"    # mysite/\S+/create_scratch\.py\n((?:(?:    .*)?\n)+)", PAGE.read_text()
    )
    assert found is not None
    module = ModuleType("operators.mysite.operations.create_scratch")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__dict__["__name__"] = module.__name__
    exec(textwrap.dedent(found[1]), module.__dict__)
    step = module.create_scratch
    assert isinstance(step, Operation)
    return step


def test_documented_step_is_a_part_of_the_creation(monkeypatch: pytest.MonkeyPatch) -> None:
    step = documented_step(monkeypatch)
    own = Operator("mysite", "", PAGE.parent)
    own.operations["createscratch"] = step
    catalog = Catalog([*load_catalog().operators.values(), own])
    known = {"username": "ada", "uid_number": 20001, "mail": "ada@hpc.example"}
    shell: Shell = FakeShell(catalog=catalog)
    assert isinstance(shell, FakeShell)
    shell.expect("mkdir --mode=0700 /scratch/ada").expect("chown 20001 /scratch/ada", exit_code=1)
    shell.expect("rmdir /scratch/ada")
    with pytest.raises(CommandFailed):
        shell.call("mysite:create_scratch", known)
    assert shell.undo() == (["rmdir /scratch/ada"], [])
    assert shell.undo_report().undone == ["rmdir /scratch/ada"]
    shell.finished()
