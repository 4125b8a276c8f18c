"""Every reason that Slurm gives for a job, in words."""

from typing import get_args

from operators.slurm.reason_words import ADVICE, ReasonKind, explain, limit_of

# job_state_reason_string of Slurm 22.05 to 26.11
WORDS = """
AccountNotAllowed AccountingPolicy AssocGrpBB AssocGrpBBMinutes AssocGrpBBRunMinutes
AssocGrpBilling AssocGrpBillingMinutes AssocGrpBillingRunMinutes AssocGrpCPUMinutesLimit
AssocGrpCPURunMinutesLimit AssocGrpCpuLimit AssocGrpEnergy AssocGrpEnergyMinutes
AssocGrpEnergyRunMinutes AssocGrpGRES AssocGrpGRESMinutes AssocGrpGRESRunMinutes
AssocGrpJobsLimit AssocGrpLicense AssocGrpLicenseMinutes AssocGrpLicenseRunMinutes
AssocGrpMemLimit AssocGrpMemMinutes AssocGrpMemRunMinutes AssocGrpNodeLimit AssocGrpNodeMinutes
AssocGrpNodeRunMinutes AssocGrpSubmitJobsLimit AssocGrpUnknown AssocGrpUnknownMinutes
AssocGrpUnknownRunMinutes AssocGrpWallLimit AssocMaxBBMinutesPerJob AssocMaxBBPerJob
AssocMaxBBPerNode AssocMaxBillingMinutesPerJob AssocMaxBillingPerJob AssocMaxBillingPerNode
AssocMaxCpuMinutesPerJobLimit AssocMaxCpuPerJobLimit AssocMaxCpuPerNode
AssocMaxEnergyMinutesPerJob AssocMaxEnergyPerJob AssocMaxEnergyPerNode AssocMaxGRESMinutesPerJob
AssocMaxGRESPerJob AssocMaxGRESPerNode AssocMaxJobsLimit AssocMaxLicenseMinutesPerJob
AssocMaxLicensePerJob AssocMaxMemMinutesPerJob AssocMaxMemPerJob AssocMaxMemPerNode
AssocMaxNodeMinutesPerJob AssocMaxNodePerJobLimit AssocMaxSubmitJobLimit
AssocMaxUnknownMinutesPerJob AssocMaxUnknownPerJob AssocMaxUnknownPerNode
AssocMaxWallDurationPerJobLimit AssociationJobLimit AssociationResourceLimit
AssociationTimeLimit BadConstraints BeginTime BlockFreeAction BlockMaxError BurstBufferOperation
BurstBufferResources BurstBufferStageIn Cleaning Constraints DeadLine Dependency
DependencyNeverSatisfied FedJobLock FrontEndDown InactiveLimit InvalidAccount InvalidQOS
InvalidReason JobArrayTaskLimit JobHeldAdmin JobHeldUser JobHoldMaxRequeue JobLaunchFailure
Licenses MaxBBPerAccount MaxBBRunMinsPerAccount MaxBBRunMinsPerUser MaxBillingPerAccount
MaxBillingRunMinsPerAccount MaxBillingRunMinsPerUser MaxCpuPerAccount MaxCpuRunMinsPerAccount
MaxCpuRunMinsPerUser MaxEnergyPerAccount MaxEnergyRunMinsPerAccount MaxEnergyRunMinsPerUser
MaxGRESPerAccount MaxGRESRunMinsPerAccount MaxGRESRunMinsPerUser MaxJobsPerAccount
MaxLicensePerAccount MaxLicenseRunMinsPerAccount MaxLicenseRunMinsPerUser MaxMemPerLimit
MaxMemoryPerAccount MaxMemoryRunMinsPerAccount MaxMemoryRunMinsPerUser MaxNodePerAccount
MaxNodeRunMinsPerAccount MaxNodeRunMinsPerUser MaxPoweredUpNodes MaxSubmitJobsPerAccount
MaxUnknownPerAccount MaxUnknownRunMinsPerAccount MaxUnknownRunMinsPerUser MpiPortsBusy NodeDown
NonZeroExitCode None NvidiaImexChannels OutOfMemory PartitionConfig PartitionDown
PartitionInactive PartitionNodeLimit PartitionTimeLimit PowerNotAvail PowerReserved Priority
Prolog QOSGrpBB QOSGrpBBMinutes QOSGrpBBRunMinutes QOSGrpBilling QOSGrpBillingMinutes
QOSGrpBillingRunMinutes QOSGrpCPUMinutesLimit QOSGrpCPURunMinutesLimit QOSGrpCpuLimit
QOSGrpEnergy QOSGrpEnergyMinutes QOSGrpEnergyRunMinutes QOSGrpGRES QOSGrpGRESMinutes
QOSGrpGRESRunMinutes QOSGrpJobsLimit QOSGrpLicense QOSGrpLicenseMinutes QOSGrpLicenseRunMinutes
QOSGrpMemLimit QOSGrpMemoryMinutes QOSGrpMemoryRunMinutes QOSGrpNodeLimit QOSGrpNodeMinutes
QOSGrpNodeRunMinutes QOSGrpSubmitJobsLimit QOSGrpUnknown QOSGrpUnknownMinutes
QOSGrpUnknownRunMinutes QOSGrpWallLimit QOSJobLimit QOSMaxBBPerJob QOSMaxBBPerNode
QOSMaxBBPerUser QOSMaxBillingMinutesPerJob QOSMaxBillingPerJob QOSMaxBillingPerNode
QOSMaxBillingPerUser QOSMaxCpuMinutesPerJobLimit QOSMaxCpuPerJobLimit QOSMaxCpuPerNode
QOSMaxCpuPerUserLimit QOSMaxEnergyMinutesPerJob QOSMaxEnergyPerJob QOSMaxEnergyPerNode
QOSMaxEnergyPerUser QOSMaxGRESMinutesPerJob QOSMaxGRESPerJob QOSMaxGRESPerNode QOSMaxGRESPerUser
QOSMaxJobsPerUserLimit QOSMaxLicenseMinutesPerJob QOSMaxLicensePerJob QOSMaxLicensePerUser
QOSMaxMemoryMinutesPerJob QOSMaxMemoryPerJob QOSMaxMemoryPerNode QOSMaxMemoryPerUser
QOSMaxNodeMinutesPerJob QOSMaxNodePerJobLimit QOSMaxNodePerUserLimit QOSMaxSubmitJobPerUserLimit
QOSMaxUnknownMinutesPerJob QOSMaxUnknownPerJob QOSMaxUnknownPerNode QOSMaxUnknownPerUser
QOSMaxWallDurationPerJobLimit QOSMinBB QOSMinBilling QOSMinCpuNotSatisfied QOSMinEnergy
QOSMinGRES QOSMinLicense QOSMinMemory QOSMinNode QOSMinUnknown QOSNotAllowed QOSResourceLimit
QOSTimeLimit QOSUsageThreshold RaisedSignal ReqNodeNotAvail Reservation ReservationDeleted
ReservationInvalid Resources SchedDefer SystemFailure TimeLimit
"""
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
    words = WORDS.split()
    assert len(words) == len({*words}) > 200
    meanings: dict[str, str] = {}
    for word in words:
        found = explain(word)
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
    assert {text: explain(text).kind for text in KINDS} == KINDS
    assert "cn[01,03]" in explain("ReqNodeNotAvail, UnavailableNodes:cn[01,03]").meaning
    assert explain("ReqNodeNotAvail,  UnavailableNodes:").meaning.endswith("none of them is down.")
    assert "signal 9 (Killed)" in explain("RaisedSignal:9(Killed)").meaning


def test_limits_have_the_names_of_sacctmgr() -> None:
    assert {word: limit_of(word) for word in LIMITS} == LIMITS
    for word in ("Priority", "PartitionTimeLimit", "MaxMemPerLimit", "TimeLimit", "JobHeldUser"):
        assert limit_of(word) is None, word


def test_unknown_reason_is_handed_on() -> None:
    for text in ("QuantumFlux", "site: no more budget, call 123"):
        found = explain(text)
        assert (found.kind, text in found.meaning) == ("other", True)
