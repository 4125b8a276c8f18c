"""Hostile strings in every string option of every action: refused by name, or harmless.

The steps go through a real shell here, with programs that do nothing; what the cluster answers
is what the scenario says.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resop.actions.catalog import Action
from resop.actions.execute import perform_command, perform_operation
from resop.actions.operation import Operation
from resop.actions.options import check_options
from resop.actions.spellings import names_by_alias
from resop.archives.entry import File
from resop.errors import InvalidOptions, OperationFault, PathFailed, ResopError
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.testing import FakeExecutor, FakeShell, Scenario
from resop.testing.scenario_file import CallEntry, StepEntry
from tests.support.corpus import ODD, hurtful
from tests.unit.operators.test_scenarios import ACTIONS, CATALOG, SCENARIOS

FOR_A_SHELL = [("core/run", "command")]
REAL = ("sh", "bash", "env", "touch", "cat")
Place = tuple[str | int, ...]


class Node(FakeExecutor):
    """Answers in the order of a scenario, whatever comes; runs for real what holds a word."""

    def __init__(self, folder: Path, word: str, answers: Iterable[StepEntry | CallEntry]) -> None:
        super().__init__()
        self.bin = folder / "bin"
        self.bin.mkdir(exist_ok=True)
        for name in REAL:
            if not (self.bin / name).exists():
                (self.bin / name).symlink_to(f"/usr/bin/{name}")
        self.word = word
        self.answers = [each for each in answers if isinstance(each, StepEntry)]
        self.ran = 0

    def run(self, step: StepRequest) -> Result:
        words = [step.display, *(step.program.argv if step.program else [])]
        if any(self.word in word for word in words) or self.word.encode() in (step.input or b""):
            self._run(step)
        told = self.answers.pop(0) if self.answers else StepEntry(command="")
        stdout, code = told.stdout, told.exit_code
        text, raw = (stdout, b"") if isinstance(stdout, str) else ("", stdout)
        if step.raw:
            text, raw = "", text.encode() or raw
        return Result(text, told.stderr, code, command=step.display, raw=raw)

    def _run(self, step: StepRequest) -> None:
        for word in step.program.argv if step.program else ():
            if re.fullmatch(r"[a-z_]{2,30}", word) and not (self.bin / word).is_symlink():
                (self.bin / word).symlink_to("/bin/true")
        subprocess.run(
            ["/bin/sh", "-c", step.line],
            env={"PATH": str(self.bin), "HOME": str(self.bin.parent)},
            cwd=self.bin.parent,
            input=step.input or b"",
            capture_output=True,
            timeout=60,
            check=False,
        )
        self.ran += 1

    def get(self, path: str, limit: int) -> File:
        found = self.files.get(path) or PathFailed(path, "missing")
        if isinstance(found, PathFailed):
            raise found
        return found


def strings(value: Any, place: Place = ()) -> Iterator[Place]:
    """Return the places of the strings in a JSON value."""
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in pairs:
            yield from strings(each, (*place, key))


def replaced(value: Any, place: Place, text: str) -> Any:
    """Return the value with another text at a place; a script keeps its first characters."""
    if not place:
        return f"#!/{text}" if value.startswith("#!") else text
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(value[place[0]], place[1:], text)
    return copy


def cases(name: str) -> Iterator[tuple[Scenario, Place]]:
    """Every string option of an action, in a scenario that has one there."""
    seen: set[tuple[str, ...]] = set()
    for scenario in SCENARIOS[name]:
        if "invalid" in scenario.answer:
            continue
        for place in strings(scenario.options):
            kind = tuple("*" if isinstance(key, int) else key for key in place)
            if kind not in seen:
                seen.add(kind)
                yield scenario, place


def attempt(
    action: Action, scenario: Scenario, node: Node, options: dict[str, Any]
) -> ResopError | None:
    """Return an action's refusal of these options, or None if it accepts them."""
    try:
        checked = check_options(action.options, options)
    except InvalidOptions as fault:
        return fault
    if not isinstance(action, Operation):
        return perform_command(action, node, checked).error
    shell = FakeShell(
        username=scenario.username,
        operator=action.operator,
        settings=scenario.settings,
        catalog=CATALOG,
    )
    shell.executor = node
    return perform_operation(action, shell, checked).error


@pytest.mark.parametrize("name", sorted(ACTIONS))
def test_hostile_string_is_refused_by_name_or_harmless(name: str, tmp_path: Path) -> None:
    action, made = ACTIONS[name], tmp_path / "made"
    for scenario, place in cases(name):
        harm = [] if (name, *place) in FOR_A_SHELL else hurtful(str(made))
        for text in [*harm, *ODD]:
            node = Node(tmp_path, str(made), scenario.steps)
            fault = attempt(action, scenario, node, replaced(scenario.options, place, text))
            where = f"{name}: {place}: {text[:100]!r}: {fault and fault.message[:500]}"
            assert not made.exists(), where
            assert not isinstance(fault, OperationFault), f"{where}\n{''.join(node.faults)}"
            # The cluster of the scenario does not know all names of the other options.
            if isinstance(fault, InvalidOptions) and ": Slurm shows no " not in fault.message:
                fields = {each["field"].split(".")[0] for each in fault.details["faults"]}
                own = names_by_alias(action.options).get(str(place[0]), str(place[0]))
                assert fields <= {own, "command line"}, where


def test_each_hurtful_string_is_noticed_where_a_shell_reads_it(tmp_path: Path) -> None:
    action, [scenario, *_], made = ACTIONS["core/run"], SCENARIOS["core/run"], tmp_path / "made"
    for text in hurtful(str(made)):
        for line in (f"echo {text}", f"echo '{text}'", f'echo "{text}"'):
            attempt(action, scenario, Node(tmp_path, str(made), []), {"command": line})
        assert made.exists(), text
        made.unlink()
