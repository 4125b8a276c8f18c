"""Play scenarios: run an action on a fake shell, and compare its answer with the expected one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resop.actions.catalog import Action, Catalog, lookup_key
from resop.actions.command import Command
from resop.actions.dry_run import perform_dry_run
from resop.actions.execute import ActionOutcome, perform_command, perform_operation
from resop.actions.operation import Operation
from resop.actions.options import check_options
from resop.errors import InvalidOptions, UnknownAction
from resop.security.masking import Masker, secrets_in
from resop.testing.fake_shell import FakeShell
from resop.testing.scenario_file import (
    CallEntry,
    Scenario,
    StepEntry,
    read_scenarios,
    stored_file,
)


def find_scenarios(folder: Path, catalog: Catalog) -> Iterator[tuple[Action, Scenario]]:
    """Yield the scenarios in `tests/` of an operator's folder, each with its action.

        catalog = load_catalog([Path("operators")])
        for action, scenario in find_scenarios(Path("operators/mysite"), catalog):
            play(scenario, action, catalog)

    Raises ValueError for an invalid file, and UnknownAction for a file without an action of its
    name.
    """
    operator = catalog.operator(folder.name)
    for file in sorted((folder / "tests").glob("*.yml")):
        key = lookup_key(file.stem)
        action = operator.operations.get(key) or operator.commands.get(key)
        if action is None:
            raise UnknownAction(f"{file}: {operator.name} has no action {file.stem!r}")
        for scenario in read_scenarios(file):
            yield action, scenario


def play(scenario: Scenario, action: Action, catalog: Catalog) -> None:
    """Run a scenario on a fake shell. Raises AssertionError where the answer differs."""
    options = _validate_options(scenario, action)
    if options is None:
        return
    shell = FakeShell(
        username=scenario.username,
        operator=action.operator,
        settings=scenario.settings,
        catalog=catalog,
        past_tasks=[each.past_task() for each in scenario.past_tasks],
    )
    shell.fake.masker = Masker(secrets_in(options))
    shell.fake.files = {path: stored_file(path, file) for path, file in scenario.files.items()}
    shell.fake.failed_tasks = dict(scenario.failed_tasks)
    for step in scenario.steps:
        _expect(shell, step, action, catalog)
    if isinstance(action, Operation) and scenario.dry_run:
        outcome = perform_dry_run(action, shell, options, shell.fake.masker)
    elif isinstance(action, Operation):
        outcome = perform_operation(action, shell, options)
    else:
        outcome = perform_command(action, shell.fake, options)
    shell.finished()
    _compare(scenario, outcome, shell)


def _expect(
    shell: FakeShell, step: StepEntry | CallEntry, action: Action, catalog: Catalog
) -> None:
    raises = step.raises.error() if step.raises else None
    if isinstance(step, StepEntry):
        shell.expect(
            step.command,
            stdout=step.stdout,
            stderr=step.stderr,
            exit_code=step.exit_code,
            input=step.input,
            raises=raises,
        )
        return
    operator, _, name = step.call.rpartition(":")
    called = catalog.action(operator or action.operator, "opn", name)
    assert called is not action, f"{step.call} is the operation that the scenario tests"
    shell.expect_call(called.title, step.options, output=step.output, raises=raises, undo=step.undo)


def _validate_options(scenario: Scenario, action: Action) -> Any:
    """Return the validated options, or None if the scenario expects them to be refused."""
    try:
        options = check_options(action.options, scenario.options)
        if isinstance(action, Command):
            action.invocation(options)
    except InvalidOptions as error:
        faults: Sequence[Mapping[str, str]] = error.details["faults"]
    else:
        assert "invalid" not in scenario.answer, "the options were expected to be refused"
        return options
    fields = sorted({fault["field"] for fault in faults})
    assert fields == sorted(scenario.invalid), f"refused: {faults}"
    return None


def _compare(scenario: Scenario, outcome: ActionOutcome, shell: FakeShell) -> None:
    mask = shell.fake.masker.json  # a worker masks everything that it records
    expected = scenario.answer
    if scenario.dry_run:
        changes = [step for step in outcome.output["plan"] if step["changes"]]
        outcome.output = outcome.output["output"]
        plan = [step["summary"] or step["command"] for step in changes]
        assert plan == scenario.plan, f"plan: {plan!r}"
    _compare_error(expected.get("error"), mask(outcome.error_json()))
    actual = {
        "output": mask(outcome.output),
        "log": shell.fake.log_lines,
        "undone": mask(outcome.undone),
        "needs_repair": mask(outcome.needs_repair),
        "ended_logins": shell.fake.ended_logins,
        "allowed_logins": shell.fake.allowed_logins,
    }
    for key, value in actual.items():
        if key in expected:
            assert value == expected[key], f"{key}: {value!r} != {expected[key]!r}"
    for path, entry in scenario.written.items():
        file, wanted = shell.fake.files.get(path), stored_file(path, entry)
        assert file == wanted, f"written: {path}: {file!r} != {wanted!r}"


def _compare_error(expected: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> None:
    """Compare the keys of the expected error only."""
    if expected is None:
        assert error is None, f"failed: {error}"
    else:
        assert error is not None, "it was expected to fail"
        actual = {key: error.get(key) for key in expected}
        assert actual == expected, f"error: {actual!r} != {expected!r}"
