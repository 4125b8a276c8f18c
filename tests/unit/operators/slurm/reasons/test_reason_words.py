"""Every reason that Slurm gives for a job, in words."""

from typing import get_args

from operators.slurm.reasons.reason_words import ADVICE, ReasonKind, explain_reason, limit_of
from tests.support.slurm_reasons import REASONS

WORDS = [*REASONS, "InvalidReason", "None"]
KINDS = {
    "Priority": "priority",
    "Resources": "resources",
    "JobHeldUser": "held",
    "JobHeldAdmin": "held_by_administrator",
    "Dependency": "dependency",
    "DependencyNeverSatisfied": "dependency_failed",
    "QOSMaxJobsPerUserLimit": "limit_in_use",
    "QOSGrpCPUMinutesLimit": "limit_used_up",
    "QOSGrpWallLimit": "limit_used_up",
    "AssocMaxCpuPerJobLimit": "limit_of_job",
    "QOSMinGRES": "limit_of_job",
    "MaxMemoryRunMinsPerUser": "limit_in_use",
    "QOSMaxMemoryPerNode": "limit_of_job",
    "PartitionTimeLimit": "partition_limit",
    "RaisedSignal:9(Killed)": "signal",
    "ReqNodeNotAvail, UnavailableNodes:cn[01,03]": "nodes",
    "ReqNodeNotAvail,_Reserved_for_maintenance": "nodes",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": (
        "nodes"
    ),
    "Reservation maint was deleted": "reservation",
    "job requeued in held state": "held",
    "launch failed requeued held": "launch",
    "JobLaunchFailure (an output file, or the folder of one, could not be opened)": "launch",
    "Job is at or exceeds QOS long's group max TRES(cpu) minutes of 10 with 20": "limit_used_up",
    "burst_buffer/lua: slurm_bb_pre_run: no space": "system",
    "Priority,Resources": "priority",
}
LIMITS = {
    "QOSGrpCpuLimit": ("qos", "GrpTRES", "cpu"),
    "QOSGrpMemoryRunMinutes": ("qos", "GrpTRESRunMins", "mem"),
    "QOSMaxJobsPerUserLimit": ("qos", "MaxJobsPU", None),
    "QOSMaxSubmitJobPerUserLimit": ("qos", "MaxSubmitPU", None),
    "MaxSubmitJobsPerAccount": ("qos", "MaxSubmitPA", None),
    "QOSMaxGRESPerUser": ("qos", "MaxTRESPU", "gres"),
    "MaxNodePerAccount": ("qos", "MaxTRESPA", "node"),
    "MaxCpuRunMinsPerUser": ("qos", "MaxTRESRunMinsPU", "cpu"),
    "QOSMaxWallDurationPerJobLimit": ("qos", "MaxWall", None),
    "QOSMinMemory": ("qos", "MinTRES", "mem"),
    "AssocGrpJobsLimit": ("association", "GrpJobs", None),
    "AssocGrpSubmitJobsLimit": ("association", "GrpSubmit", None),
    "AssocMaxJobsLimit": ("association", "MaxJobs", None),
    "AssocMaxCpuMinutesPerJobLimit": ("association", "MaxTRESMins", "cpu"),
    "AssocMaxBillingPerNode": ("association", "MaxTRESPerNode", "billing"),
}


def test_every_word_of_slurm_has_a_sentence_of_its_own() -> None:
    words = WORDS
    assert len(words) == len({*words}) > 200
    meanings: dict[str, str] = {}
    for word in words:
        found = explain_reason(word)
        # InvalidReason is what Slurm itself says of a reason that it does not know.
        assert (found.kind == "other") == (word == "InvalidReason"), word
        assert found.meaning.endswith(".") and word not in found.meaning, word
        assert found.advice == ADVICE[found.kind], word
        meanings[word] = found.meaning
    # The same limit has several words: MaxTRES of an association and of a QOS differ.
    assert len({*meanings.values()}) > 190


def test_every_kind_has_advice() -> None:
    assert set(ADVICE) == {*get_args(ReasonKind)}
    assert [kind for kind, advice in ADVICE.items() if advice is None] == ["none"]


def test_kinds_tell_what_to_do() -> None:
    assert {text: explain_reason(text).kind for text in KINDS} == KINDS
    assert "cn[01,03]" in explain_reason("ReqNodeNotAvail, UnavailableNodes:cn[01,03]").meaning
    assert explain_reason("ReqNodeNotAvail,  UnavailableNodes:").meaning.endswith(
        "none of them is down."
    )
    assert "signal 9 (Killed)" in explain_reason("RaisedSignal:9(Killed)").meaning


def test_limits_have_the_names_of_sacctmgr() -> None:
    assert {word: limit_of(word) for word in LIMITS} == LIMITS
    for word in ("Priority", "PartitionTimeLimit", "MaxMemPerLimit", "TimeLimit", "JobHeldUser"):
        assert limit_of(word) is None, word


def test_unknown_reason_is_handed_on() -> None:
    for text in ("QuantumFlux", "site: no more budget, call 123"):
        found = explain_reason(text)
        assert (found.kind, text in found.meaning) == ("other", True)
