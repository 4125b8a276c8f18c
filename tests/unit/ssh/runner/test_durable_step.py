"""The states of a durable step: the documented diagram, and what each transition is for."""

import re
from pathlib import Path

import pytest

from resop.ssh.runner.durable_step import (
    INITIAL_STATES,
    STDIN_LIMIT,
    TRANSITIONS,
    DurabilityUnavailable,
    DurableStep,
    IllegalTransition,
    StepState,
    Transition,
)

DIAGRAM = Path(__file__).parents[4] / "docs/runner.md"
METHODS = {
    Transition.REQUEST: lambda step: step.request(None),
    Transition.SEND: DurableStep.mark_sent,
    Transition.ATTACH_ONLY: DurableStep.attach_only,
    Transition.END: DurableStep.end,
    Transition.NOT_DURABLE: DurableStep.mark_not_durable,
    Transition.NOT_STARTED: DurableStep.mark_not_started,
    Transition.FINISH: DurableStep.finish,
}


def in_state(state: StepState) -> DurableStep:
    step = DurableStep("id")
    for transition in PATHS[state]:
        METHODS[transition](step)
    assert step.state is state
    return step


PATHS = {
    StepState.NEW: [],
    StepState.SENT: [Transition.SEND],
    StepState.MAYBE_SENT: [Transition.SEND, Transition.REQUEST],
    StepState.ATTACH_ONLY: [Transition.SEND, Transition.ATTACH_ONLY],
    StepState.ENDING: [Transition.SEND, Transition.END],
    StepState.DONE: [Transition.SEND, Transition.FINISH],
}


def test_diagram_in_the_documentation_is_the_transition_table() -> None:
    text = DIAGRAM.read_text()
    section = text.partition("### Durable steps: states")[2]
    drawn = section.partition("stateDiagram-v2")[2].partition("```")[0]
    edges = {
        (before, label.strip(), after)
        for before, after, labels in re.findall(r"^ +(\w+) --> (\w+): (.+)$", drawn, re.MULTILINE)
        for label in labels.split(",")
    }
    assert edges == {
        (before.name, transition.value, after.name)
        for transition, steps in TRANSITIONS.items()
        for before, after in steps.items()
    }
    initial = set(re.findall(r"\[\*\] --> (\w+)", drawn))
    assert initial == {state.name for state in INITIAL_STATES}
    assert set(re.findall(r"^\| ([A-Z_]+) \|", section, re.MULTILINE)) == {
        state.name for state in StepState
    }


@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize("state", StepState)
def test_every_transition_is_made_or_refused(state: StepState, transition: Transition) -> None:
    step = in_state(state)
    after = TRANSITIONS[transition].get(state)
    if after is None:
        with pytest.raises(IllegalTransition, match=f"no {transition.value} in state {state.name}"):
            METHODS[transition](step)
        assert step.state is state
    else:
        METHODS[transition](step)
        assert step.state is after


@pytest.mark.parametrize("state", [each for each in StepState if each not in INITIAL_STATES])
def test_step_begins_in_no_other_state(state: StepState) -> None:
    with pytest.raises(IllegalTransition):
        DurableStep("id", state)


def test_refusal_of_the_first_start_means_nothing_runs_and_that_of_a_later_one_does_not() -> None:
    first, later = in_state(StepState.SENT), in_state(StepState.MAYBE_SENT)
    first.mark_not_durable()
    later.mark_not_durable()
    assert not first.may_be_started
    assert later.may_be_started


def test_only_the_first_and_only_start_needs_no_tombstone() -> None:
    step = DurableStep("id")
    step.request(None)
    step.mark_sent()
    assert not step.needs_tombstone
    step.request(None)
    assert step.needs_tombstone
    assert DurableStep("id", StepState.MAYBE_SENT).needs_tombstone
    assert DurableStep("id", needs_tombstone=True).needs_tombstone


def test_request_says_what_is_known_and_what_is_to_be_done() -> None:
    step = DurableStep("id")
    assert step.request(b"in") == {
        "step_id": "id",
        "attach_only": False,
        "end": False,
        "stdin": "aW4=",
        "offsets": [0, 0],
    }
    step.mark_sent()
    step.output[1] += b"four"
    assert step.request(b"in")["offsets"] == [4, 0]
    step.attach_only()
    assert step.request(None)["attach_only"] is True
    step.end()
    ending = step.request(None)
    assert ending["attach_only"] is ending["end"] is True
    assert min(ending["offsets"]) > 1 << 50


def test_large_standard_input_is_refused_before_anything_is_sent() -> None:
    step = DurableStep("id")
    with pytest.raises(DurabilityUnavailable, match="nothing was sent"):
        step.request(bytes(STDIN_LIMIT + 1))
    assert step.state is StepState.NEW
