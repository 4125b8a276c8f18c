"""`resop new operator`: write an operator that loads, runs and passes its tests, to begin with."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from resop.actions.catalog import RESERVED_PATHS, load_catalog, lookup_key
from resop.errors import SetupError

OPERATOR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""Names that a Python package can have, too."""
MAX_NAME_CHARACTERS = 64

_FILES = {
    "__init__.py": '"""What {name} is for; GET /operators shows this text."""\n',
    "commands.yml": """\
# docs/operators.md explains every key, and operators/template shows them all.
# `resop yamlize PROGRAM >>commands.yml` writes an entry from a program's --help.

- command: uptime
  description: how long the login node has been running, and its load
  options:
    since: {{flag: --since, type: flag, description: show only when it was started}}
  arguments: false
""",
    "operations/disk_space.py": '''\
"""Report the size of the file system of a folder, and how much of it is free."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from resop import RemotePath, Shell, operation


class DiskSpace(TypedDict):
    """Size and free space of a file system, in bytes."""

    size: int
    free: int


@operation(timeout=60, share_for=5, examples=[{{"folder": "/tmp"}}])
def disk_space(
    shell: Shell,
    folder: Annotated[RemotePath, Field(description="a folder of the file system")] = ".",
) -> DiskSpace:
    """Return size and free space."""
    listing = shell.run("df", "--block-size=1", "--output=size,avail", "--", folder, path=folder)
    size, free = listing.lines[-1].split()
    return DiskSpace(size=int(size), free=int(free))
''',
    "tests/disk_space.yml": """\
# docs/scenarios.md explains every key. Play the scenarios with `resop test`.

- name: the file system of a folder
  options: {{folder: /tmp}}
  steps:
    - command: df --block-size=1 --output=size,avail -- /tmp
      stdout: |2
         1B-blocks    Avail
        4000000000 10000000
  output: {{size: 4000000000, free: 10000000}}

- name: a folder that does not exist
  options: {{folder: gone}}
  steps:
    - command: df --block-size=1 --output=size,avail -- gone
      stderr: "df: gone: No such file or directory\\n"
      exit_code: 1
  error: {{type: PathFailed, path: gone, reason: missing}}

- name: no folder
  options: {{folder: ""}}
  invalid: [folder]
""",
    "tests/uptime.yml": """\
- name: since when
  options: {{since: true}}
  steps:
    - {{command: uptime --since, stdout: "2026-11-01 08:00:00\\n"}}
  output: "2026-11-01 08:00:00\\n"

- name: a word after it
  options: {{input: [now]}}
  invalid: [input]
""",
}
"""The files of a new operator by path, to be formatted with its name."""


def new_operator(name: str, parent: Path) -> list[Path]:
    """Write the files of a new operator into a new folder in `parent`; return their paths.

    Raises SetupError for a name that no operator can have or that one has already.
    """
    check_name(name, parent)
    folder = parent / name
    try:
        folder.mkdir(parents=True)
        for path, text in _FILES.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text.format(name=name), encoding="utf-8")
    except OSError as fault:
        raise SetupError(f"{fault.filename}: {fault.strerror}") from None
    return [folder / path for path in _FILES]


def check_name(name: str, parent: Path) -> None:
    """Raise SetupError for a name that no operator in `parent` can have."""
    if not OPERATOR_NAME.fullmatch(name) or keyword.iskeyword(name):
        raise SetupError(f"{name!r} is no name of an operator: {_rule(name)}")
    if len(name) > MAX_NAME_CHARACTERS:
        raise SetupError(f"a name may have {MAX_NAME_CHARACTERS} characters, not {len(name)}")
    key = lookup_key(name)
    if key in RESERVED_PATHS:
        raise SetupError(f"/{name} is a path of the API: use another name")
    if key in load_catalog().operators:
        raise SetupError(f"resop ships an operator {name!r}: use another name")
    existing = [each.name for each in parent.iterdir()] if parent.is_dir() else []
    for other in existing:
        if lookup_key(other) == key:
            raise SetupError(f"{parent / other} exists already")


def _rule(name: str) -> str:
    proposal = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    rule = "it begins with a letter and has letters, digits and '_'"
    if keyword.iskeyword(name):
        return f"Python reserves it; take {name}_site"
    return f"{rule}, such as {proposal}" if OPERATOR_NAME.fullmatch(proposal) else rule
