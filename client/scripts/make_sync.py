"""Generate the package `_sync` from `_async`: the same code without `async` and `await`.

Run it after each change in `resop_client/_async`; a test finds out if that was forgotten.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "resop_client"
REPLACEMENTS = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsync([A-Z]\w*)", r"\1"),
    (r"\b_async\b", "_sync"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\ba(close|read|iter_bytes|iter_lines)\b", r"\1"),
    (r"\basleep\b", "sleep"),
)
HEADER = "# Generated from ../_async/{name} by scripts/make_sync.py: edit that file instead.\n\n"
INIT = '"""The synchronous client, generated from `_async` by `scripts/make_sync.py`."""\n'


def synchronous(source: str) -> str:
    """Return asynchronous code as synchronous code."""
    for pattern, replacement in REPLACEMENTS:
        source = re.sub(pattern, replacement, source)
    return source


def generated() -> dict[str, str]:
    """Return the content of each generated file by its name."""
    files = {"__init__.py": INIT}
    for file in sorted((PACKAGE / "_async").glob("*.py")):
        if file.name != "__init__.py":
            source = synchronous(file.read_text(encoding="utf-8"))
            files[file.name] = formatted(HEADER.format(name=file.name) + source)
    return files


def formatted(source: str) -> str:
    """Return code as ruff formats it: without `await`, lines are joined."""
    command = [sys.executable, "-m", "ruff"]
    for arguments in (["check", "--select=I,F401", "--fix", "--quiet"], ["format", "--quiet"]):
        place = f"--stdin-filename={PACKAGE / '_sync' / 'code.py'}"
        source = subprocess.run(
            [*command, *arguments, place, "-"],
            input=source,
            text=True,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    return source


def main() -> None:
    """Write the files, and remove those without a source."""
    files = generated()
    folder = PACKAGE / "_sync"
    folder.mkdir(exist_ok=True)
    for file in folder.glob("*.py"):
        if file.name not in files:
            file.unlink()
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
