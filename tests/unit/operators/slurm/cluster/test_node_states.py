"""States of nodes in every form that Slurm 22.05 to 26.05 prints."""

from typing import get_args

from operators.slurm.cluster.node_states import BASE_STATES, FLAGS, NodeState, NodeStateWord

# What sinfo prints for a node (node_state_string in src/common/slurm_protocol_defs.c), and whether
# the node starts further jobs.
OF_SINFO = {
    **dict.fromkeys(["IDLE", "MIXED", "ALLOCATED", "COMPLETING", "PLANNED"], True),
    **dict.fromkeys(["DRAINED", "DRAINING", "FAIL", "FAILING", "MAINT", "REBOOT", "INVAL"], False),
    **dict.fromkeys(["DOWN", "FUTURE", "UNKNOWN", "RESERVED", "BLOCKED"], False),
}
SUFFIXES = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWER_DOWN",
    "%": "POWERING_DOWN",
    "$": "MAINTENANCE",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
}


def test_words_of_sinfo_are_statuses_with_and_without_capitals() -> None:
    for word, accepts in OF_SINFO.items():
        for text in (word, word.lower()):
            state = NodeState.parse(text)
            assert (state.status, state.accepts_jobs) == (word, accepts), text
            assert state.base in BASE_STATES
            assert set(state.flags) <= set(FLAGS)


def test_suffixes_of_sinfo_are_flags() -> None:
    for suffix, flag in SUFFIXES.items():
        for word in ("IDLE", "MIXED", "ALLOCATED", "DOWN", "DRAINED", "DRAINING", "COMPLETING"):
            assert flag in NodeState.parse(word + suffix).flags, word + suffix
    assert NodeState.parse("ALLOCATED+").flags == ("COMPLETING",)
    assert NodeState.parse("MIXED-") == ("MIXED", ("PLANNED",))


def test_every_flag_with_every_base_state_is_kept() -> None:
    for base in BASE_STATES:
        for flag in FLAGS:
            state = NodeState.parse(f"{base}+{flag}")
            assert (state.base, state.flags) == (base, (flag,))
            assert state.status in get_args(NodeStateWord)
            assert state.matches({flag})


def test_status_of_states_and_flags_is_the_word_of_sinfo() -> None:
    cases = {
        "IDLE+DRAIN": "DRAINED",
        "DOWN+DRAIN": "DRAINED",
        "DOWN*+DRAIN": "DRAINED",
        "MIXED+DRAIN": "DRAINING",
        "ALLOCATED+DRAIN+NOT_RESPONDING": "DRAINING",
        "IDLE+COMPLETING+DRAIN": "DRAINING",
        "IDLE+MAINTENANCE": "MAINT",
        "IDLE+MAINTENANCE+RESERVED": "MAINT",
        "IDLE+DRAIN+MAINTENANCE": "DRAINED",
        "MIXED+MAINTENANCE": "MIXED",
        "DOWN+MAINTENANCE": "DOWN",
        "IDLE+FAIL": "FAIL",
        "ALLOCATED+FAIL": "FAILING",
        "IDLE+REBOOT_REQUESTED": "REBOOT",
        "MIXED+REBOOT_REQUESTED": "MIXED",
        "IDLE+INVALID_REG": "INVAL",
        "IDLE+NOT_RESPONDING": "NOT_RESPONDING",
        "MIXED+NOT_RESPONDING": "NOT_RESPONDING",
        "IDLE+CLOUD+POWERED_DOWN": "POWERED_DOWN",
        "IDLE+CLOUD+POWERING_UP": "POWERING_UP",
        "IDLE+CLOUD+POWERING_DOWN": "POWERING_DOWN",
        "ALLOCATED+CLOUD+POWERING_UP": "ALLOCATED",
        "IDLE+CLOUD": "IDLE",
        "IDLE+DYNAMIC_NORM": "IDLE",
        "IDLE+PLANNED": "PLANNED",
        "IDLE+RESERVED": "RESERVED",
        "IDLE+BLOCKED": "BLOCKED",
        "IDLE+COMPLETING": "COMPLETING",
        "ALLOCATED+COMPLETING": "ALLOCATED",
    }
    for text, status in cases.items():
        assert NodeState.parse(text).status == status, text


def test_only_a_node_that_is_free_is_idle() -> None:
    for flag in ("DRAIN", "MAINTENANCE", "NOT_RESPONDING", "RESERVED", "FAIL", "POWERING_DOWN"):
        state = NodeState.parse(f"IDLE+{flag}")
        assert not state.matches({"IDLE"}), flag
        assert not state.accepts_jobs, flag
    assert NodeState.parse("IDLE+DRAIN").matches({"DRAINED"})
    assert NodeState.parse("MIXED+DRAIN").matches({"DRAINING"})
    assert NodeState.parse("DOWN+DRAIN").matches({"DOWN"})
    assert NodeState.parse("IDLE+MAINTENANCE").matches({"MAINT"})
    assert NodeState.parse("IDLE+CLOUD").matches({"IDLE"})
    for started_for_jobs in ("POWERED_DOWN", "POWERING_UP", "PLANNED", "COMPLETING"):
        assert NodeState.parse(f"IDLE+{started_for_jobs}").accepts_jobs
