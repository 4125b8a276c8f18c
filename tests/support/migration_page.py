"""The code of docs/migration.md: the operation that it shows, and its calls."""

import re
from pathlib import Path

from tests.support.services import ROOT

_BLOCK = re.compile(r"(?:^(?:    .*|)\n)+", re.MULTILINE)


def blocks() -> list[str]:
    """Return the blocks of code, without their indent."""
    page = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
    found = [each[0] for each in _BLOCK.finditer(page) if each[0].strip()]
    return [re.sub("^    ", "", each, flags=re.MULTILINE).strip("\n") + "\n" for each in found]


def write_operation(folder: Path) -> None:
    """Write the operation that the page shows into a folder of operators."""
    file = folder / "hpcuser/operations/createUser.py"
    file.parent.mkdir(parents=True)
    file.write_text(next(each for each in blocks() if "@operation" in each))


def calls() -> str:
    """Return the calls, as the lines of a shell script."""
    return next(each for each in blocks() if "curl" in each)
