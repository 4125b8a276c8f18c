"""The executor: it submits jobs, asks how they are, and cancels them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from resop_client import Resop, errors
from resop_client.cluster_folder import make_folder
from snakemake_executor_plugin_resop.job_options import job_options

SHOWN_LINES = 20
"""Lines of a failed job's output in its error."""
JOBS_PER_REQUEST = 1000
PASSING = (
    errors.ConnectionFailed,
    errors.ServiceError,
    errors.ClusterError,
    errors.LimitReached,
)
"""Faults that end by themselves: the jobs do not depend on this program."""


class Executor(RemoteExecutor):
    """Runs the jobs of a workflow as jobs of Slurm."""

    def __post_init__(self) -> None:
        settings = self.workflow.executor_settings
        self._cluster = settings.cluster
        self._succeeded: list[str] = []
        self._hpc = Resop(settings.url, profile=settings.profile)
        try:
            self._logs = make_folder(self._hpc, settings.logs)
        except errors.ResopError as fault:
            raise WorkflowError(f"resop: {fault.message}") from fault

    @property
    def _has_shared_folder(self) -> bool:
        return bool(self.workflow.storage_settings.assume_common_workdir)

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit a job."""
        options = job_options(job)
        if self._has_shared_folder:
            options["chdir"] = str(self.workflow.workdir_init)
        try:
            submission = self._hpc.run(
                "slurm.submit",
                options={
                    "job_name": f"{job.name}.{job.jobid}",
                    "comment": "snakemake",
                    **options,
                    "script": self._script(job),
                    "output": f"{self._logs}/%j.log",
                    **self._on_cluster(),
                },
            )
        except errors.ResopError as fault:
            self.logger.error(f"resop: job {job.jobid} is not submitted: {fault.message}")
            self.report_job_error(SubmittedJobInfo(job))
            return
        number = str(submission["job"])
        self.logger.info(f"Job {job.jobid} is job {number} of Slurm.")
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=number))

    def _script(self, job: JobExecutorInterface) -> str:
        setup = self.workflow.executor_settings.setup
        lines = ["#!/bin/bash", *([setup] if setup else [])]
        if not self._has_shared_folder:  # a folder of its own, for the sources of the workflow
            lines += ['work=$(mktemp -d) && cd "$work" || exit', "trap 'rm -rf \"$work\"' EXIT"]
        return "\n".join([*lines, self.format_job_exec(job), ""])

    def _on_cluster(self) -> dict[str, str]:
        return {"cluster": self._cluster} if self._cluster else {}

    async def check_active_jobs(
        self, active_jobs: Sequence[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Report the jobs that have ended, and yield the others."""
        for start in range(0, len(active_jobs), JOBS_PER_REQUEST):
            some = active_jobs[start : start + JOBS_PER_REQUEST]
            async with self.status_rate_limiter:
                outcomes = await asyncio.to_thread(self._outcomes, some)
            for info in some:
                outcome = outcomes.get(info.external_jobid)
                if outcome is None or not outcome["ended"]:
                    yield info
                elif outcome["succeeded"]:
                    self._succeeded.append(info.external_jobid)
                    self.report_job_success(info)
                else:
                    message = await asyncio.to_thread(self._failure, outcome)
                    self.logger.error(message)
                    self.report_job_error(info)

    def _outcomes(self, jobs: Sequence[SubmittedJobInfo]) -> dict[str, dict[str, Any]]:
        """Return how jobs are, by id; of some of them nothing may be known now."""
        ids = [info.external_jobid for info in jobs]
        try:
            found = self._hpc.run("slurm.wait", ids=ids, timeout=0, **self._on_cluster())
        except PASSING as fault:
            self.logger.warning(f"resop: {fault.message}; trying again.")
            return {}
        except errors.JobNotFound as fault:
            gone = {"ended": True, "succeeded": False, "state": "UNKNOWN", "reason": fault.message}
            return {each: {"id": each, **gone} for each in fault.details.get("ids", ids)}
        return {outcome["id"]: outcome for outcome in found["jobs"]}

    def _failure(self, outcome: dict[str, Any]) -> str:
        """Return how a job failed, with the last lines of its output."""
        output = ""
        with contextlib.suppress(errors.ResopError):
            content = self._hpc.files.read_text(f"{self._logs}/{outcome['id']}.log")
            output = "\n".join(content.rstrip().splitlines()[-SHOWN_LINES:])
        reason = f" ({outcome['reason']})" if outcome.get("reason") else ""
        said = f" Its last output:\n{output}\n" if output else " "
        return f"Job {outcome['id']} of Slurm ended: {outcome['state']}{reason}.{said}"

    def cancel_jobs(self, active_jobs: Sequence[SubmittedJobInfo]) -> None:
        """Cancel jobs: the workflow is given up."""
        ids = [info.external_jobid for info in active_jobs if info.external_jobid]
        try:
            for start in range(0, len(ids), JOBS_PER_REQUEST):
                some = ids[start : start + JOBS_PER_REQUEST]
                self._hpc.run("slurm.cancel", jobs=some, **self._on_cluster())
        except errors.ResopError as fault:
            self.logger.error(f"resop: jobs are not cancelled, {', '.join(ids)}: {fault.message}")

    def shutdown(self) -> None:
        """Remove the output of the jobs that succeeded."""
        super().shutdown()
        logs = [f"{self._logs}/{job}.log" for job in self._succeeded]
        with contextlib.suppress(errors.ResopError):
            for start in range(0, len(logs), 500):
                self._hpc.utils.rm(*logs[start : start + 500], force=True)
        self._hpc.close()
