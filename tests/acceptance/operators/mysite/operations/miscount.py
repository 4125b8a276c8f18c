"""Return a text instead of the number that its type promises."""

from typing import Any

from resop import Shell, operation


@operation
def miscount(shell: Shell, name: str) -> dict[str, int]:
    """Return how often the name was counted."""
    with shell.undone_by("rm", name):
        shell.run("touch", name)
    counted: Any = {"count": "three", "total": 3}
    result: dict[str, int] = counted
    return result
