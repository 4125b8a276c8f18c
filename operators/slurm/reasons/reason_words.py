"""Explain why a job waits or why it failed: every reason of Slurm, in words, and what to do.

The words are those of job_state_reason_string (src/common/job_state_reason.c; in 22.05
job_reason_string in src/common/slurm_protocol_defs.c), and the sentences that slurmctld puts in
their place.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

ReasonKind = Literal[
    "none",
    "resources",
    "priority",
    "held",
    "held_by_administrator",
    "dependency",
    "dependency_failed",
    "begin_time",
    "licenses",
    "reservation",
    "nodes",
    "partition",
    "partition_limit",
    "array_limit",
    "limit_in_use",
    "limit_used_up",
    "limit_of_job",
    "not_allowed",
    "constraints",
    "preparation",
    "exit_code",
    "signal",
    "time_limit",
    "memory",
    "node_failure",
    "launch",
    "deadline",
    "inactive",
    "cancelled",
    "preempted",
    "system",
    "other",
]
"""The subject of a reason. A `limit_in_use` is in use by other jobs and becomes free again, a
`limit_used_up` does not by itself, and a job that exceeds a `limit_of_job` can never start."""

ADVICE: dict[ReasonKind, str | None] = {
    "none": None,
    "resources": "Wait. A job that asks for less (nodes, CPUs, GPUs, memory, time) may start "
    "earlier.",
    "priority": "Wait. A shorter time limit helps the job into gaps that more important jobs leave "
    "free.",
    "held": "Release the job (operation release) when it may start.",
    "held_by_administrator": "Ask the administrators of the cluster: only they can release the "
    "job.",
    "dependency": "Wait until those jobs have ended, or change the dependency (operation update).",
    "dependency_failed": "Cancel the job, or change its dependency (operation update): as it is, "
    "it never starts.",
    "begin_time": "Wait until that time.",
    "licenses": "Wait until other jobs return licences, or ask for fewer.",
    "reservation": "Check that the reservation exists, is active and admits you, or submit the "
    "job without it.",
    "nodes": "Wait until the nodes are back, or do not ask for these nodes.",
    "partition": "Choose another partition (operation update), or wait until the administrators "
    "open this one.",
    "partition_limit": "Ask for less, or choose another partition (operations partitions and "
    "update): as it is, the job does not start.",
    "array_limit": "Wait until tasks of the array end, or let more run at once (operation update, "
    "at_once).",
    "limit_in_use": "Wait until running jobs end: the job then starts by itself.",
    "limit_used_up": "Use another account or QOS, or ask the administrators for more: the job "
    "starts only when the limit is raised or the usage is reset or has decayed.",
    "limit_of_job": "Change what the job asks for (operation update, or submit it again), or use "
    "a QOS or an account with another limit: as it is, the job never starts.",
    "not_allowed": "Use an account, QOS or partition that you may use (operation accounts).",
    "constraints": "Change what the job asks for: no nodes of the cluster can ever meet it.",
    "preparation": "Wait: this takes moments. Ask the administrators if it stays so for long.",
    "exit_code": "Read the end of the output: the program says there what went wrong.",
    "signal": "Read the end of the output. If nobody sent the signal, look at the memory that the "
    "job used.",
    "time_limit": "Ask for more time, or let the program save its state and continue in a further "
    "job.",
    "memory": "Ask for more memory than the job used, or let it use less.",
    "node_failure": "Submit or requeue the job: nothing in it was wrong.",
    "launch": "Check that the job's working folder and the folders of its output exist on the "
    "nodes and that you may write there, then submit it again.",
    "deadline": "Submit the job again with a later deadline or a shorter time limit.",
    "inactive": "Submit the work as a batch job, which needs no client that stays connected.",
    "cancelled": "Submit the job again if this was not intended.",
    "preempted": "Submit the job again, or use a partition or QOS that is not preempted.",
    "system": "Ask the administrators of the cluster, and name the job.",
    "other": "Ask the administrators of the cluster what this reason means there.",
}
"""The advice about a reason, by its kind."""


class Explanation(NamedTuple):
    """A reason in words."""

    kind: ReasonKind
    meaning: str
    advice: str | None


class NamedLimit(NamedTuple):
    """A limit that a reason names, as sacctmgr calls it."""

    owner: Literal["qos", "association"]
    column: str
    """Such as GrpTRES or MaxJobsPU."""
    resource: str | None
    """Its resources: cpu, mem, node, gres, license, bb, billing or energy."""


_WORDS: dict[str, tuple[ReasonKind, str]] = {
    "None": ("none", "Slurm gives no reason: it has not looked at the job yet, or nothing is in "
             "its way."),
    "Priority": ("priority", "Jobs with a higher priority come first."),
    "Resources": ("resources", "The resources that the job asks for are not free yet; it is among "
                  "the next to start."),
    "Dependency": ("dependency", "The job waits for other jobs, and they have not ended as it "
                   "demands."),
    "DependencyNeverSatisfied": ("dependency_failed", "A job that this one depends on has not "
                                 "ended as demanded, so the dependency can never be met."),
    "JobHeldUser": ("held", "The job is held by its user, or was submitted with hold."),
    "JobHeldAdmin": ("held_by_administrator", "An administrator, or Slurm itself, holds the job."),
    "JobHoldMaxRequeue": ("held_by_administrator", "The job was requeued so often that Slurm holds "
                          "it now (max_batch_requeue)."),
    "BeginTime": ("begin_time", "The earliest start of the job has not come yet: the one that it "
                  "asks for, or a pause after it was requeued."),
    "Licenses": ("licenses", "Licences that the job asks for are in use."),
    "Reservation": ("reservation", "The job's reservation is not active yet, or in use."),
    "ReservationDeleted": ("reservation", "The job's reservation was deleted, and the job is "
                           "held."),
    "ReservationInvalid": ("reservation", "The job's reservation does not exist or does not admit "
                           "the job."),
    "ReqNodeNotAvail": ("nodes", "Nodes that the job needs are not available: down, drained, not "
                        "responding, or reserved."),
    "PartitionDown": ("partition", "The partition is down: it starts no jobs."),
    "PartitionInactive": ("partition", "The partition is inactive: it takes and starts no jobs."),
    "PartitionNodeLimit": ("partition_limit", "The job asks for more nodes than the partition "
                           "allows, or for nodes that are not in it."),
    "PartitionTimeLimit": ("partition_limit", "The job's time limit is longer than the partition "
                           "allows."),
    "PartitionConfig": ("partition_limit", "The job asks for something that the partition does "
                        "not allow."),
    "MaxMemPerLimit": ("limit_of_job", "The job asks for more memory per CPU or node than the "
                       "cluster or the partition allows."),
    "JobArrayTaskLimit": ("array_limit", "As many tasks of the array run as may run at once."),
    "AccountNotAllowed": ("not_allowed", "The job's account may not be used in the partition."),
    "QOSNotAllowed": ("not_allowed", "The job's QOS may not be used in the partition or by the "
                      "account."),
    "InvalidAccount": ("not_allowed", "The job's account does not exist, or you may no longer use "
                       "it."),
    "InvalidQOS": ("not_allowed", "The job's QOS does not exist, or you may no longer use it."),
    "AccountingPolicy": ("limit_in_use", "A limit of the account or QOS is reached."),
    "AssociationJobLimit": ("limit_in_use", "The account, or you in it, has as many jobs as it may "
                            "have."),
    "AssociationResourceLimit": ("limit_in_use", "The account, or you in it, uses as many "
                                 "resources as it may use."),
    "AssociationTimeLimit": ("limit_used_up", "The account, or you in it, has used up its time."),
    "QOSJobLimit": ("limit_in_use", "The QOS has as many jobs as it may have."),
    "QOSResourceLimit": ("limit_in_use", "The QOS uses as many resources as it may use."),
    "QOSTimeLimit": ("limit_used_up", "The QOS has used up its time."),
    "QOSUsageThreshold": ("limit_used_up", "The fair share of the account is below the threshold "
                          "of the QOS (UsageThreshold)."),
    "BadConstraints": ("constraints", "No nodes of the cluster meet what the job asks for."),
    "Constraints": ("constraints", "No available nodes meet the features or the topology that the "
                    "job asks for."),
    "Prolog": ("preparation", "The site's prolog prepares the nodes."),
    "Cleaning": ("preparation", "The job was requeued, and its last run is still being cleaned "
                 "up."),
    "SchedDefer": ("preparation", "Slurm schedules this job only in its next regular round."),
    "BurstBufferStageIn": ("preparation", "Files are being copied into the burst buffer."),
    "BurstBufferResources": ("resources", "The burst buffer has not enough free space."),
    "BurstBufferOperation": ("system", "An operation of the burst buffer has failed."),
    "FedJobLock": ("preparation", "The clusters of the federation agree on which of them starts "
                   "the job."),
    "MaxPoweredUpNodes": ("resources", "As many nodes are powered up as the cluster may have."),
    "MpiPortsBusy": ("resources", "The ports that are reserved for MPI are in use."),
    "NvidiaImexChannels": ("resources", "All NVIDIA IMEX channels are in use."),
    "PowerNotAvail": ("resources", "The power that the job needs is not available."),
    "PowerReserved": ("resources", "The power that the job needs is reserved for other jobs."),
    "FrontEndDown": ("nodes", "No front-end node is available for the job."),
    "BlockMaxError": ("nodes", "Too many nodes of the block are in an error state."),
    "BlockFreeAction": ("preparation", "The block of nodes is being freed."),
    "NodeDown": ("node_failure", "A node of the job failed."),
    "SystemFailure": ("system", "Slurm could not run the job because of a fault of its own."),
    "JobLaunchFailure": ("launch", "Slurm could not start the job: its files, its user or its "
                         "environment could not be set up on the node."),
    "NonZeroExitCode": ("exit_code", "The job's script ended with an exit code other than 0."),
    "RaisedSignal": ("signal", "A signal ended the job."),
    "TimeLimit": ("time_limit", "The job reached its time limit, and Slurm ended it."),
    "OutOfMemory": ("memory", "The job needed more memory than it had asked for, and was ended."),
    "DeadLine": ("deadline", "The job could not end before its deadline."),
    "InactiveLimit": ("inactive", "The client of the job (salloc or srun) was inactive for longer "
                      "than the cluster allows."),
    "InvalidReason": ("other", "Slurm does not say why."),
}  # fmt: skip

_SCOPES = {"QOS": "the QOS", "Assoc": "the account", "": "the QOS"}
# What is limited: some of it, and a unit of its minutes.
_LIMITED = {
    "Jobs": ("jobs", ""),
    "SubmitJobs": ("pending and running jobs", ""),
    "SubmitJob": ("pending and running jobs", ""),
    "Wall": ("wall-clock time", ""),
    "WallDuration": ("wall-clock time", ""),
    "Cpu": ("CPUs", "CPU"),
    "CPU": ("CPUs", "CPU"),
    "Mem": ("memory", "memory"),
    "Memory": ("memory", "memory"),
    "Node": ("nodes", "node"),
    "GRES": ("generic resources such as GPUs", "GRES"),
    "License": ("licences", "licence"),
    "BB": ("burst buffer space", "burst buffer"),
    "Billing": ("billing units", "billing"),
    "Energy": ("energy", "energy"),
    "Unknown": ("resources", "resource"),
}
_COLUMNS = {"Jobs": "Jobs", "SubmitJobs": "Submit", "SubmitJob": "Submit", "Wall": "Wall"}
_RESOURCES = {
    "Cpu": "cpu",
    "CPU": "cpu",
    "Mem": "mem",
    "Memory": "mem",
    "Node": "node",
    "GRES": "gres",
    "License": "license",
    "BB": "bb",
    "Billing": "billing",
    "Energy": "energy",
}
# QOSGrpCPURunMinutesLimit, AssocMaxWallDurationPerJobLimit, MaxGRESRunMinsPerUser, QOSMinMemory
_LIMIT = re.compile(
    r"(?P<scope>QOS|Assoc|)(?P<bound>Grp|Max|Min)"
    rf"(?P<what>{'|'.join(sorted(_LIMITED, key=len, reverse=True))})"
    r"(?P<time>RunMinutes|RunMins|Minutes|)(?P<each>PerJob|PerNode|PerUser|PerAccount|)"
    r"(?:Limit|NotSatisfied|)"
)
# Sentences that slurmctld puts in the place of a word; scontrol prints `_` for their spaces.
_SENTENCES: tuple[tuple[str, ReasonKind, str], ...] = (
    (
        r"ReqNodeNotAvail, *UnavailableNodes:$",
        "nodes",
        "Nodes that the job needs are in use or reserved; none of them is down.",
    ),
    (
        r"ReqNodeNotAvail, *UnavailableNodes:(\S+)",
        "nodes",
        "Nodes that the job needs are not available: {0}.",
    ),
    (
        r"ReqNodeNotAvail, *Reserved for maintenance",
        "nodes",
        "Nodes that the job needs are reserved for maintenance before the job would have ended.",
    ),
    (
        r"ReqNodeNotAvail, *May be reserved",
        "nodes",
        "Nodes that the job needs may be reserved for another job.",
    ),
    (
        r"Nodes required for job are DOWN, DRAINED or reserved",
        "nodes",
        "Nodes that the job needs are down, drained, or reserved for jobs in partitions with a "
        "higher priority.",
    ),
    (
        r"Reservation (\S+) was deleted",
        "reservation",
        "The job's reservation {0} was deleted, and the job is held.",
    ),
    (
        r"Reservation (\S+), which this job was running under, has ended",
        "reservation",
        "The job ran in the reservation {0}, which has ended.",
    ),
    (
        r"launch failed requeued held",
        "launch",
        "Slurm could not start the job on the node, has requeued it, and holds it.",
    ),
    (
        r"user env retrieval failed requeued held",
        "launch",
        "Slurm could not read the user's environment on the node, has requeued the job, and "
        "holds it.",
    ),
    (
        r"job requeued in special exit state",
        "held",
        "The job ended with a special exit code, and was requeued and held.",
    ),
    (r"job requeued in held state", "held", "The job was requeued and is held."),
    (
        r"Job is at or exceeds QOS (\S+)'s group",
        "limit_used_up",
        "The QOS {0} has used up one of its limits.",
    ),
    (
        r"Job is at or exceeds association \(acc=([^/)]*)[^)]*\) group",
        "limit_used_up",
        "The account {0} has used up one of its limits.",
    ),
    (r"Job is at or exceeds", "limit_of_job", "The job exceeds a limit for each job."),
    (r"burst buffer/", "system", "An operation of the burst buffer has failed."),
    (r"Burst buffer pre_run error", "system", "An operation of the burst buffer has failed."),
)


def explain_reason(reason: str) -> Explanation:
    """Return a reason in words, with what to do; one that nobody knows is handed on."""
    word, _, detail = reason.partition(":")
    if word in _WORDS or _LIMIT.fullmatch(word):
        return _explain_word(word, detail)
    text = reason.replace("_", " ")
    for pattern, kind, meaning in _SENTENCES:
        if found := re.match(pattern, text):
            return Explanation(kind, meaning.format(*found.groups()), ADVICE[kind])
    words = [each for each in re.split(r", ?", reason) if each in _WORDS or _LIMIT.fullmatch(each)]
    if words:  # squeue joins the reasons of an array's tasks
        first, *others = [_explain_word(each, "") for each in words]
        meaning = " ".join([first.meaning, *(each.meaning for each in others)])
        return first._replace(meaning=meaning)
    if launch := re.match(r"(JobLaunchFailure) \((.*)\)", reason):
        return _explain_word("JobLaunchFailure", "")._replace(
            meaning=f"Slurm could not start the job: {launch[2]}."
        )
    return Explanation("other", f"Slurm says: {reason}.", ADVICE["other"])


def limit_of(reason: str) -> NamedLimit | None:
    """Return the limit that a reason names, if it names one."""
    found = _LIMIT.fullmatch(reason)
    if not found or reason in _WORDS:
        return None
    owner: Literal["qos", "association"] = "association" if found["scope"] == "Assoc" else "qos"
    return NamedLimit(owner, _column(found, owner), _RESOURCES.get(found["what"]))


def _explain_word(word: str, detail: str) -> Explanation:
    if word in _WORDS:
        kind, meaning = _WORDS[word]
        if detail and word == "RaisedSignal":
            meaning = f"The signal {detail.replace('_', ' ').replace('(', ' (')} ended the job."
        return Explanation(kind, meaning, ADVICE[kind])
    found = _LIMIT.fullmatch(word)
    assert found is not None
    kind, meaning = _explain_limit(found)
    return Explanation(kind, meaning, ADVICE[kind])


def _explain_limit(found: re.Match[str]) -> tuple[ReasonKind, str]:
    """Return the kind and the meaning of a limit's name."""
    scope, (what, unit) = _SCOPES[found["scope"]], _LIMITED[found["what"]]
    name = _column(found, "association" if found["scope"] == "Assoc" else "qos")
    each, time = found["each"], found["time"]
    running = f"{unit} minutes that its running jobs may still use"
    kind: ReasonKind = "limit_in_use"
    match found["bound"], each, time:
        case "Min", _, _:
            kind, text = "limit_of_job", f"{scope} demands that a job asks for more {what}"
        case "Grp", _, "Minutes":
            kind, text = "limit_used_up", f"{scope} has used up its {unit} minutes"
        case "Grp", _, "" if what == "wall-clock time":
            kind, text = "limit_used_up", f"{scope} has used up its {what}"
        case "Grp", _, "":
            text = f"{scope} has reached its limit of {what}"
            text += " for all of its jobs together" if unit else ""
        case "Grp", _, _:
            text = f"{scope} has reached its limit of {running}"
        case _, "PerJob" | "PerNode", "":
            place = "on one node" if each == "PerNode" else "for one job"
            kind, text = "limit_of_job", f"the job asks for more {what} than {scope} allows {place}"
        case _, "PerJob" | "PerNode", _:
            kind = "limit_of_job"
            text = f"the job could use more {unit} minutes than {scope} allows for one job"
        case _, "PerAccount", "":
            text = f"your account has reached the limit of {what} that {scope} sets for an account"
        case _, "PerAccount", _:
            text = f"your account has reached the limit of {running}"
        case _, _, "":
            text = f"you have reached the limit of {what} that {scope} sets for a user"
        case _:
            text = f"you have reached the limit of {unit} minutes that your running jobs may use"
    return kind, f"{text[0].upper()}{text[1:]} ({name})."


def _column(found: re.Match[str], owner: str) -> str:
    """Return the limit's name in sacctmgr(1)."""
    what, time, each = found["what"], found["time"], found["each"]
    is_qos = owner == "qos"
    suffix = {"PerUser": "PU", "PerAccount": "PA"}.get(each, "") if is_qos else ""
    if what.startswith("Wall"):
        return f"{found['bound']}Wall"
    if what in _COLUMNS:
        return f"{found['bound']}{_COLUMNS[what]}{suffix}"
    if found["bound"] == "Min":
        return "MinTRES"
    minutes = {"Minutes": "Mins", "RunMinutes": "RunMins", "RunMins": "RunMins", "": ""}[time]
    if each == "PerNode":
        return "MaxTRESPerNode"
    return f"{found['bound']}TRES{minutes}{suffix}"


assert set(ADVICE) == set(get_args(ReasonKind))
