"""Plays every scenario of operators/*/tests/ on a fake shell, and proves that none is missing."""

from pathlib import Path

import pytest

from resop.actions.catalog import Action, Catalog, load_catalog
from resop.actions.command import Command
from resop.actions.execute import perform_command
from resop.actions.options import check_options, option_names
from resop.actions.spellings import fields_by_name
from resop.security.masking import Masker, secrets_in
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.testing import FakeExecutor, play, read_scenarios
from resop.types import MASK, KindCode

FOLDER = Path(__file__).parents[3] / "operators"
CATALOG = load_catalog()


def shipped(catalog: Catalog) -> dict[str, Action]:
    """Every action that runs on a cluster, by `operator/name`, as its scenario file is called."""
    # An operation that the API runs itself (login) has no shell to fake.
    acts = [each for each in catalog if not each.in_api]
    by_name = {f"{each.operator}/{each.name}": each for each in acts}
    assert len(by_name) == len(acts), "a command and an operation of one operator share a name"
    return by_name


ACTIONS = shipped(CATALOG)
FILES = {
    f"{file.parents[1].name}/{file.stem}": file for file in sorted(FOLDER.glob("*/tests/*.yml"))
}
SCENARIOS = {name: read_scenarios(file) for name, file in FILES.items()}


@pytest.mark.parametrize("name", FILES)
def test_scenarios_are_answered_as_they_say(name: str) -> None:
    for scenario in SCENARIOS[name]:
        try:
            play(scenario, ACTIONS[name], CATALOG)
        except Exception as fault:
            fault.add_note(f"in the scenario {scenario.name!r}")
            raise


def test_every_action_has_scenarios_and_every_scenario_an_action() -> None:
    assert set(FILES) == set(ACTIONS)


def test_scenarios_are_named_apart_and_show_every_option() -> None:
    for name, scenarios in SCENARIOS.items():
        names = [each.name for each in scenarios]
        assert len(set(names)) == len(names), name
        accepted = [each.options for each in scenarios if "invalid" not in each.answer]
        shown = {option for options in accepted for option in options}
        aliases = set(fields_by_name(ACTIONS[name].options)) - set(
            option_names(ACTIONS[name].options)
        )
        free = {"input", "stdin"} if isinstance(ACTIONS[name], Command) else set()
        assert set(option_names(ACTIONS[name].options)) - free == shown - aliases - free, name


def test_scenarios_show_success_and_refusal_and_failure() -> None:
    for name, scenarios in SCENARIOS.items():
        answers = [each.answer for each in scenarios]
        assert any("invalid" in answer for answer in answers), name
        assert any("error" in answer for answer in answers), name
        assert any("error" not in answer and "invalid" not in answer for answer in answers), name


class RecordingExecutor(FakeExecutor):
    """A cluster where every step succeeds silently."""

    def __init__(self, masker: Masker) -> None:
        super().__init__(masker=masker)
        self.steps: list[StepRequest] = []

    def run(self, step: StepRequest) -> Result:
        """Keep the step, and answer nothing."""
        self.steps.append(step)
        return Result(command=self.masker.text(step.display))


SECRET = "quiet otter; id"


def searched(word: str) -> tuple[StepRequest, str]:
    """Return the step of the template's `search` with SECRET, and its displayed line."""
    search = CATALOG.command("template", "search")
    given = {"words": [word], "hidden_word": SECRET, "input": ["notes"]}
    options = check_options(search.options, given)
    executor = RecordingExecutor(Masker(secrets_in(options)))
    outcome = perform_command(search, executor, options)
    assert outcome.result is not None
    (step,) = executor.steps
    return step, outcome.result.command


def test_secret_of_the_template_goes_by_standard_input_only() -> None:
    step, _ = searched("a")
    assert (step.input, step.secrets) == (SECRET.encode(), (SECRET,))
    assert SECRET not in step.line + step.display


def test_secret_of_the_template_is_masked_even_where_the_caller_said_it_aloud() -> None:
    _, shown = searched(f"not {SECRET}")
    assert SECRET not in shown
    assert f"not {MASK}" in shown


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("cmd", "search", {"words": ["a"], "hidden_word": SECRET, "input": ["notes"]}),
        ("opn", "hello", {"names": ["ada"], "password": SECRET}),
    ],
)
def test_options_of_the_template_show_no_secret(
    kind: KindCode, name: str, options: dict[str, object]
) -> None:
    checked = check_options(CATALOG.action("template", kind, name).options, options)
    assert secrets_in(checked) == [SECRET]
    assert SECRET not in repr(checked) + checked.model_dump_json()
