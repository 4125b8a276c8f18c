"""The calls of one job array: sent, cancelled, collected, and explained if a result is missing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resop_client.errors import ActionError, CallFailed
from resop_client.executor.calls import Call, calls_file
from resop_client.executor.cluster_python import ClusterPython
from resop_client.executor.outcomes import fail, settle

if TYPE_CHECKING:
    from resop_client._sync.client import Resop

SUFFIX = ".result"
CANCELLED_STATES = ("CANCELLED", "UNKNOWN")
"""The states of a task that somebody has cancelled; of one that was pending there is no record."""
SHOWN_LINES = 3
"""Lines of a failed task's output in its error."""


class CallArray:
    """Some calls, which run as the tasks of one job array."""

    def __init__(self, calls: Sequence[Call], calls_per_task: int = 1) -> None:
        """`calls_per_task`: how many of them a task runs, one after the other."""
        self.left = dict(enumerate(calls))
        """The calls without a result, by number; a result is kept by its future only."""
        self.job = 0
        """The id of the job array, once it is submitted."""
        self.folder = ""
        self._file: bytes | None = calls_file(calls)
        self._per_task = calls_per_task
        self._tasks = -(-len(calls) // calls_per_task)
        self._key = str(uuid.uuid4())

    @property
    def is_waiting(self) -> bool:
        """True if somebody waits for a result: not all calls have one or are cancelled."""
        return any(not call.future.done() for call in self.left.values())

    @property
    def ended_tasks(self) -> int:
        """The number of tasks of which no call is left."""
        return self._tasks - len(self._tasks_left())

    def submit(
        self,
        hpc: Resop,
        python: ClusterPython,
        folder: str,
        at_once: int | None,
        options: Mapping[str, Any],
    ) -> None:
        """Submit the job, in a folder of its own; once, however often this is repeated."""
        if not self.folder:
            made = f"{folder}/{self._key}"
            hpc.utils.mkdir(f"{made}/results", f"{made}/output", parents=True)
            hpc.files.write(f"{made}/calls", self._file or b"")
            self.folder, self._file = made, None
        submission = hpc.run(
            "slurm.submit",
            idempotency_key=self._key,
            options={
                "job_name": "resop-calls",
                **options,
                "script": python.job(self.folder, self._per_task),
                "array": f"0-{self._tasks - 1}" + (f"%{at_once}" if at_once else ""),
                "output": f"{self.folder}/output/%a.out",
            },
        )
        self.job = int(submission["job"])

    def collect(self, hpc: Resop) -> int:
        """Give the futures the results that exist, remove their files, and return their number."""
        results = f"{self.folder}/results"
        found = hpc.files.read_folder(results, f"*{SUFFIX}")
        for name, content in found.items():
            if call := self.left.pop(int(name.removesuffix(SUFFIX)), None):
                settle(call.future, content)
                call.notify_if_cancelled()
        names = [f"{results}/{name}" for name in found]
        for start in range(0, len(names), 500):
            hpc.utils.rm(*names[start : start + 500], force=True)
        return len(found)

    def cancel(self, hpc: Resop, cluster: str | None) -> None:
        """Cancel the tasks of which all calls that are left were cancelled."""
        tasks = self._tasks_left()
        new = [
            task
            for task, numbers in tasks.items()
            if all(self.left[number].future.cancelled() for number in numbers)
        ]
        if not new:
            return
        jobs = [f"{self.job}_{task}" for task in new]
        hpc.run("slurm.cancel", jobs=jobs, cluster=cluster)
        for number in [number for task in new for number in tasks[task]]:
            self.left.pop(number).notify_if_cancelled()

    def explain(self, hpc: Resop, cluster: str | None) -> None:
        """Give the futures without a result an error that says what became of their tasks."""
        try:
            members = self._members(hpc, cluster)
        except ActionError as fault:
            self.fail(CallFailed(f"job {self.job} ended without a result: {fault.message}"))
            return
        for task, numbers in self._tasks_left().items():
            self._explain_task(numbers, members.get(task))

    def explain_failed(self, hpc: Resop, cluster: str | None) -> None:
        """Do so for the tasks that have failed, while others of the array run."""
        tasks = self._tasks_left()
        if not tasks:
            return
        members = self._members(hpc, cluster)
        for task, numbers in tasks.items():
            member = members.get(task)
            if member is not None and member["ended"] and member["state"] != "COMPLETED":
                self._explain_task(numbers, member)
                for number in numbers:
                    self.left.pop(number).notify_if_cancelled()

    def _members(self, hpc: Resop, cluster: str | None) -> dict[int, Mapping[str, Any]]:
        found = hpc.run(
            "slurm.results", id=str(self.job), files=["stdout"], reruns=False, cluster=cluster
        )
        return {member["index"]: member for member in found["members"]}

    def _explain_task(self, numbers: Sequence[int], member: Mapping[str, Any] | None) -> None:
        for number in numbers:
            future = self.left[number].future
            if member is None or member["state"] in CANCELLED_STATES:
                future.cancel()
            else:
                fail(future, CallFailed(_fate(f"{self.job}_{member['index']}", member)))

    def _tasks_left(self) -> dict[int, list[int]]:
        """Return the numbers of the calls that are left, by task."""
        tasks: dict[int, list[int]] = {}
        for number in self.left:
            tasks.setdefault(number // self._per_task, []).append(number)
        return tasks

    def fail(self, error: BaseException) -> None:
        """Give all futures without a result this error."""
        for call in self.left.values():
            fail(call.future, error)

    def close(self) -> None:
        """Wake the threads that wait for cancelled calls."""
        for call in self.left.values():
            call.notify_if_cancelled()

    def remove(self, hpc: Resop) -> None:
        """Remove the folder."""
        if self.folder:
            hpc.utils.rm(self.folder, recursive=True, force=True)


def _fate(job: str, member: Mapping[str, Any]) -> str:
    """Return what became of a task that has no result, with the last lines of its output."""
    code = "" if member["exit_code"] is None else f" (exit code {member['exit_code']})"
    text = (member["files"]["stdout"]["text"] or "").strip()
    lines = "; ".join(text.splitlines()[-SHOWN_LINES:])
    return f"job {job} ended without a result: {member['state']}{code}" + (
        f", its last output: {lines}" if lines else ""
    )
