"""The words of Slurm 22.05 to 26.11: states of jobs and nodes, reasons, and units.

The tables are the facts of Slurm's own source: src/common/slurm_protocol_defs.c,
job_state_reason.c, slurm_protocol_api.c, proc_args.c and parse_time.c.
"""

import re
from typing import get_args

from operators.slurm.cluster.node_states import BASE_STATES, FLAGS, NodeState, NodeStateWord
from operators.slurm.job_types import UNFINISHED_STATES, JobState
from operators.slurm.parsing import parse_count, parse_duration, parse_size, parse_text
from operators.slurm.reasons.job_reasons import reason_of_end
from resop.actions.options import check_options
from resop.errors import InvalidOptions
from tests.support.slurm_reasons import REASONS
from tests.unit.operators.test_scenarios import ACTIONS

# job_state_string: flags come before base states, and squeue, sacct and scontrol print one word.
ENDED = re.findall(
    r"\w+",
    """
BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT
""",
)
UNFINISHED = re.findall(
    r"\w+",
    """
PENDING RUNNING SUSPENDED COMPLETING CONFIGURING EXPEDITING REQUEUED REQUEUE_FED REQUEUE_HOLD
RESIZING RESV_DEL_HOLD SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED
""",
)

# node_states and node_state_flags, with those of 22.05 that later releases do not have.
BASES = ("DOWN", "IDLE", "ALLOCATED", "ERROR", "MIXED", "FUTURE", "UNKNOWN")
NODE_FLAGS = re.findall(
    r"\w+",
    """
BLOCKED CLOUD COMPLETING DRAIN DYNAMIC_FUTURE DYNAMIC_NORM EXTERNAL INVALID_REG FAIL MAINTENANCE
POWER_DOWN POWER_UP PERFCTRS POWERED_DOWN REBOOT_REQUESTED REBOOT_ISSUED RESERVED RESUME
NOT_RESPONDING PLANNED POWERING_UP POWERING_DOWN
""",
)
# node_state_string, the words of sinfo: for IDLE, MIXED, ALLOCATED, DOWN and FUTURE with a flag.
OF_SINFO = """
-                IDLE       MIXED      ALLOCATED  DOWN    FUTURE
CLOUD            IDLE       MIXED      ALLOCATED  DOWN    FUTURE
DYNAMIC_NORM     IDLE       MIXED      ALLOCATED  DOWN    FUTURE
DYNAMIC_FUTURE   IDLE       MIXED      ALLOCATED  DOWN    FUTURE
PERFCTRS         IDLE       MIXED      ALLOCATED  DOWN    FUTURE
POWER_UP         IDLE       MIXED      ALLOCATED  DOWN    FUTURE
RESUME           IDLE       MIXED      ALLOCATED  DOWN    FUTURE
INVALID_REG      INVAL      INVAL      INVAL      INVAL   INVAL
MAINTENANCE      MAINT      MIXED$     ALLOCATED$ DOWN$   MAINT
REBOOT_REQUESTED REBOOT     MIXED@     ALLOCATED@ REBOOT  REBOOT
REBOOT_ISSUED    REBOOT^    MIXED^     ALLOCATED^ REBOOT^ REBOOT^
DRAIN            DRAINED    DRAINING   DRAINING   DRAINED DRAINED
FAIL             FAIL       FAILING    FAILING    FAIL    FAIL
COMPLETING       COMPLETING COMPLETING ALLOCATED+ DOWN    -
POWERING_UP      IDLE#      MIXED#     ALLOCATED# DOWN#   FUTURE#
POWERING_DOWN    IDLE%      MIXED%     ALLOCATED% DOWN%   FUTURE%
POWERED_DOWN     IDLE~      MIXED~     ALLOCATED~ DOWN~   FUTURE~
POWER_DOWN       IDLE!      MIXED!     ALLOCATED! DOWN!   FUTURE!
NOT_RESPONDING   IDLE*      MIXED*     ALLOCATED* DOWN*   FUTURE*
RESERVED         RESERVED   MIXED      ALLOCATED  DOWN    FUTURE
BLOCKED          BLOCKED    MIXED      ALLOCATED  DOWN    FUTURE
PLANNED          PLANNED    MIXED-     ALLOCATED  DOWN    FUTURE
"""
# What a character behind IDLE, MIXED or ALLOCATED changes: the node is not just idle.
OF_SUFFIXES = {
    "IDLE#": "POWERING_UP",
    "IDLE%": "POWERING_DOWN",
    "IDLE~": "POWERED_DOWN",
    "IDLE!": "POWER_DOWN",
    **dict.fromkeys(["IDLE*", "MIXED*", "ALLOCATED*"], "NOT_RESPONDING"),
}

# The reasons for which slurmctld ends a job, or lets it never start (FAIL_… in the source).
REASONS_OF_ENDS = {
    *("PartitionDown", "NodeDown", "BadConstraints", "SystemFailure", "JobLaunchFailure"),
    *("NonZeroExitCode", "RaisedSignal", "TimeLimit", "InactiveLimit", "InvalidAccount"),
    *("InvalidQOS", "BurstBufferOperation", "DeadLine", "OutOfMemory", "Constraints"),
    "DependencyNeverSatisfied",
}


def is_accepted(action: str, **options: object) -> bool:
    """Return True if the options of an action are valid."""
    try:
        check_options(ACTIONS[action].options, options)
    except InvalidOptions:
        return False
    return True


def test_every_state_of_a_job_is_known_as_ended_or_not() -> None:
    for state in (*ENDED, *UNFINISHED):
        assert (state in UNFINISHED_STATES) == (state in UNFINISHED), state
        assert is_accepted("slurm/jobs", states=[state]), state
        assert is_accepted("slurm/history", states=[state]), state
    assert set(get_args(JobState)) == {*ENDED, *UNFINISHED}


def test_every_state_and_flag_of_a_node_has_the_word_of_sinfo() -> None:
    assert set(BASES) == set(BASE_STATES)
    assert set(NODE_FLAGS) <= set(FLAGS)
    columns = ("IDLE", "MIXED", "ALLOCATED", "DOWN", "FUTURE")
    rows = {flag: words for flag, *words in map(str.split, OF_SINFO.strip().splitlines())}
    assert set(rows) - {"-"} == set(NODE_FLAGS) - {"EXTERNAL"}
    for flag, words in rows.items():
        for base, word in zip(columns, words, strict=True):
            if word == "-":
                continue
            status = OF_SUFFIXES.get(word, word.rstrip("$@^#%~!*+-"))
            text = base if flag == "-" else f"{base}+{flag}"
            assert NodeState.parse(text).status == status, (base, flag)
            assert NodeState.parse(word).status == status, word
            assert NodeState.parse(word.lower()).status == status, word
    for flag in NODE_FLAGS:
        for base in BASES:
            assert is_accepted("slurm/nodes", states=[NodeState.parse(f"{base}+{flag}").status])
            assert flag in get_args(NodeStateWord)


def test_every_reason_is_kept_and_only_those_of_ends_explain_an_end() -> None:
    assert len(set(REASONS)) == len(REASONS) > 210
    assert parse_text("None") is None
    for reason in REASONS:
        assert parse_text(reason) == reason
        explained = reason if reason in REASONS_OF_ENDS else None
        assert reason_of_end("FAILED", 0, 0, reason) == explained, reason
        assert reason_of_end("COMPLETED", 0, 0, reason) is None


def test_every_unit_that_slurm_prints_is_read() -> None:
    for power, unit in enumerate("KMGTP", start=1):
        for end in ("", "n", "c"):
            assert parse_size(f"3{unit}{end}") == 3 * 1024**power
        assert parse_size(f"1.50{unit}") == 3 * 1024**power // 2
        for suffix, base in {"": 1024, "ib": 1024, "b": 1000}.items():
            for text in (f"{unit}{suffix}", f"{unit}{suffix}".lower()):
                assert parse_count(f"2{text}") == 2 * base**power, text
    assert (parse_size("7"), parse_size("7?"), parse_count("7")) == (7 << 20, None, 7)
    assert [parse_count(text) for text in ("", "k", "2x", "2kk", "1g.10gb", "-1")] == [None] * 6


def test_every_unit_and_form_that_sbatch_takes_is_taken() -> None:
    sizes = [f"4{unit}{end}" for unit in "kKmMgGtT" for end in ("", "b", "B")]
    times = {
        "60": 3600, "0:240:0": 14400, "90:00": 5400, "4:00": 240, "100:00:00": 360_000,
        "2-12": 216_000, "3-0:00": 259_200, "1-2:3:4": 93_784, "0": 0, "1:5:7": 3907,
        **dict.fromkeys(["-1", "UNLIMITED", "infinite"]),
    }  # fmt: skip
    gpus = ["2", "a100:2", "a100:2,v100:1", "2g.10gb:1", "nvidia_a100-sxm4:8", "1k", 3]
    taken: dict[str, list[object]] = {
        "memory": ["0", "500", 500, *sizes],
        "memory_per_cpu": ["500", *sizes],
        "time_limit": [*times, 90],
        "gpus": gpus,
    }
    refused = {
        "memory": ["4P", "1.5G", "4 G", "-1", "G"],
        "time_limit": ["1:2:3:4", "1-2-3", "1h"],
        "gpus": ["a100", "a100:", ":2", "2x"],
    }
    for option, values in taken.items():
        for value in values:
            assert is_accepted("slurm/submit", path="x", **{option: value}), (option, value)
    for option, bad in refused.items():
        for text in bad:
            assert not is_accepted("slurm/submit", path="x", **{option: text}), (option, text)
    for text, seconds in times.items():
        assert parse_duration(text) == seconds, text
