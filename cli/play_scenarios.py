"""`resop test`: play the scenarios of a site's own operators, without a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from resop.actions.catalog import SHIPPED_OPERATORS, Catalog, load_catalog
from resop.errors import RequestError, SetupError
from resop.testing import find_scenarios, play


def play_scenarios(folders: Sequence[Path]) -> bool:
    """Play the scenarios of these operators and print the result; return True if all pass.

    Raises SetupError for a folder that is no operator, and for an invalid scenario file.
    """
    folders = [each.absolute() for each in folders]
    for folder in folders:
        if not folder.is_dir():
            raise SetupError(f"{folder} is not a folder")
    parents = {each.parent for each in folders} - {SHIPPED_OPERATORS.parent}
    catalog = load_catalog(sorted(parents))
    passed = [_play_operator(each, catalog) for each in folders]
    return all(passed)


def operator_folders(parents: Sequence[Path]) -> list[Path]:
    """Return the operators in the folders of OPERATORS_PATH.

    Raises SetupError if there are none.
    """
    catalog = load_catalog(parents)
    found = [each.folder for each in catalog.operators.values() if each.folder.parent in parents]
    if not found:
        raise SetupError("OPERATORS_PATH names no operators: name the folder of one")
    return found


def _play_operator(folder: Path, catalog: Catalog) -> bool:
    """Play the scenarios of one operator; return True if all pass."""
    try:
        operator = catalog.operator(folder.name)
        scenarios = list(find_scenarios(folder, catalog))
    except (RequestError, ValueError) as fault:
        raise SetupError(str(fault)) from None
    passed, failed = Counter[str](), Counter[str]()
    for action, scenario in scenarios:
        try:
            play(scenario, action, catalog)
        except (AssertionError, RequestError, TypeError) as fault:
            failed[action.title] += 1
            print(f"{action.title}: FAILED: {scenario.name}\n{_indented(str(fault))}")
        else:
            passed[action.title] += 1
    for each in (*operator.commands.values(), *operator.operations.values()):
        print(f"{each.title}: {_summary(passed[each.title], failed[each.title])}")
    return not failed


def _summary(passed: int, failed: int) -> str:
    if not passed + failed:
        return "no scenarios"
    return f"{passed} passed, {failed} failed" if failed else f"{passed} passed"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
