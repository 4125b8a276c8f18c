"""The executor: it sends calls to the cluster, waits for their jobs, and collects the results."""

from __future__ import annotations

import atexit
import contextlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

from resop_client._sync.client import Resop
from resop_client.clock import growing_pauses
from resop_client.errors import (
    ActionError,
    CallFailed,
    ClusterError,
    ConnectionFailed,
    JobNotFound,
    LimitReached,
    ResopError,
    ServiceError,
)
from resop_client.executor.call_array import CallArray
from resop_client.executor.calls import Call, pickled_arguments, pickled_function
from resop_client.executor.cluster_python import ClusterPython, prepare
from resop_client.executor.job_wait import LOOK_SECONDS, JobWait, Look

if TYPE_CHECKING:
    from resop_client._async.client import AsyncResop

Result = TypeVar("Result")

FOLDER = "~/.local/share/resop/calls"
GATHER_SECONDS = 0.05
"""Calls that are submitted one after the other in this time become one job array."""
LATE_SECONDS = 60.0
"""How much later than its end a job's result may be seen: network file systems cache folders."""
PASSING = (ConnectionFailed, ServiceError, ClusterError, LimitReached)
"""Faults that end by themselves: the jobs do not depend on this program."""
NEVER_STARTS = re.compile(
    r"DependencyNeverSatisfied|Bad\w+|Invalid\w+|\w+NotAllowed|PartitionTimeLimit|MaxMemPerLimit"
    r"|\w+PerJob\w*|QOSMin\w+"
)
"""Reasons for which a pending job ends a wait: it never starts unless somebody acts."""
MAX_FAULTS = 5
"""Other faults in a row, such as a wait that failed, before all calls fail."""


class SlurmExecutor(Executor):
    """Runs functions as jobs of Slurm: `map` is one job array.

    Functions and arguments are pickled (by cloudpickle). An exception comes back as itself, with
    the traceback of the cluster as its cause. A call may be cancelled while it runs.
    """

    def __init__(
        self,
        hpc: Resop | AsyncResop,
        *,
        python: str = "python3",
        modules: Sequence[str] = (),
        setup: str = "",
        max_workers: int | None = None,
        folder: str = FOLDER,
        cluster: str | None = None,
        **options: Any,
    ) -> None:
        """Make a folder on the cluster, and check its Python. Raises WrongPython.

        `python` has to be of this program's minor version; `modules` and `setup`, lines of bash,
        prepare its environment. `max_workers`: how many tasks of one array run at the same time.
        `folder` is seen by the login node and the compute nodes. The other options are those of
        `slurm:submit`.
        """
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._hpc = _synchronous(hpc)
        self._python = ClusterPython(python, tuple(modules), setup)
        self._at_once = max_workers
        self._cluster = cluster
        self._options = {**options, **({"cluster": cluster} if cluster else {})}
        self._folder = prepare(self._hpc, self._python, f"{folder}/{uuid.uuid4().hex[:12]}")
        self._changed = threading.Condition()
        self._queued: list[CallArray | Call] = []
        self._arrays: list[CallArray] = []
        self._wait = JobWait(self._hpc, cluster)
        self._pauses = growing_pauses()
        self._next_collection = 0.0
        self._shut = False
        self._thread = threading.Thread(target=self._work, name="resop-executor", daemon=True)
        self._thread.start()
        atexit.register(self.shutdown)

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Run one call as a job, and return its future."""
        call = Call(pickled_function(fn), pickled_arguments(args, kwargs))
        self._put(call)
        return call.future

    def map(
        self,
        fn: Callable[..., Result],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[Result]:
        """Run calls as one job array, and yield the results in order.

        `chunksize`: how many calls one task runs, one after the other.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        end = None if timeout is None else time.monotonic() + timeout
        function = pickled_function(fn)
        arguments = zip(*iterables, strict=False)
        calls = [Call(function, pickled_arguments(each, {})) for each in arguments]
        if calls:
            self._put(CallArray(calls, chunksize))
        return _results([call.future for call in calls], end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; wait for the results, and remove the folder on the cluster.

        `cancel_futures` cancels all calls that have not ended, also running ones.
        """
        with self._changed:
            self._shut = True
            calls = self._unfinished() if cancel_futures else []
        for call in calls:
            call.future.cancel()
        with self._changed:
            self._changed.notify_all()
        if wait:
            self._thread.join()
            atexit.unregister(self.shutdown)

    def _unfinished(self) -> list[Call]:
        calls: list[Call] = []
        for each in [*self._queued, *self._arrays]:
            calls += [each] if isinstance(each, Call) else each.left.values()
        return calls

    def _put(self, work: Call | CallArray) -> None:
        with self._changed:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._queued.append(work)
            self._changed.notify_all()

    def _work(self) -> None:
        """Run in the thread: until the last result after shutdown, whatever happens."""
        faults, pauses = 0, growing_pauses()
        while self._is_needed():
            try:
                self._take()
                self._look()
                faults, pauses = 0, growing_pauses()
            except ResopError as fault:
                faults += not isinstance(fault, PASSING)
                if faults > MAX_FAULTS or not isinstance(fault, (*PASSING, ActionError)):
                    self._give_up(fault)
                time.sleep(next(pauses))
            except Exception as fault:  # a mistake in this code must not leave callers waiting
                self._give_up(fault)
        self._quietly(self._wait.cancel)
        self._quietly(lambda: self._hpc.utils.rm(self._folder, recursive=True, force=True))

    def _is_needed(self) -> bool:
        """Wait until there is something to do; return False if there never will be."""
        with self._changed:
            while not self._queued and not self._arrays and not self._shut:
                self._changed.wait()
            return bool(self._queued or self._arrays)

    def _take(self) -> None:
        """Submit what is queued: single calls together, each `map` by itself."""
        time.sleep(GATHER_SECONDS if self._queued else 0)
        with self._changed:
            queued, self._queued = self._queued, []
            calls = [each for each in queued if isinstance(each, Call)]
            self._arrays += [each for each in queued if isinstance(each, CallArray)]
            if calls:
                self._arrays.append(CallArray(calls))
        for array in [each for each in self._arrays if not each.job]:
            self._submit(array)

    def _submit(self, array: CallArray) -> None:
        if not array.is_waiting:
            self._drop(array)
            return
        try:
            array.submit(self._hpc, self._python, self._folder, self._at_once, self._options)
        except ResopError as fault:
            if isinstance(fault, PASSING) and fault.task is None:
                raise  # it is submitted again, under the same key
            array.fail(fault)
            self._drop(array)

    def _look(self) -> None:
        """Collect results, cancel jobs, and end arrays whose jobs have ended."""
        for array in self._arrays:
            self._quietly(lambda array=array: array.cancel(self._hpc, self._cluster))  # type: ignore[misc]
        self._drop_finished()
        if not self._arrays:
            return
        try:
            seen = self._wait.look([array.job for array in self._arrays])
        except JobNotFound:
            for array in [*self._arrays]:
                self._end(array, {"ended": True, "succeeded": False})
            return
        if seen != Look() or time.monotonic() >= self._next_collection:
            self._collect()
        if seen.outcomes is not None:
            self._end_arrays(seen.outcomes)
        elif (seen.ended_tasks or 0) > sum(array.ended_tasks for array in self._arrays):
            for array in self._arrays:
                array.explain_failed(self._hpc, self._cluster)
        self._drop_finished()

    def _collect(self) -> None:
        """Collect results, which are there sooner than the queue tells that their jobs ended."""
        if sum(array.collect(self._hpc) for array in self._arrays):
            self._pauses = growing_pauses()
        self._next_collection = time.monotonic() + next(self._pauses)

    def _drop_finished(self) -> None:
        """Forget arrays of which no call is left: the ends of their jobs make no difference."""
        for array in [each for each in self._arrays if not each.left]:
            self._drop(array)

    def _end_arrays(self, outcomes: Sequence[dict[str, Any]]) -> None:
        by_job = {str(array.job): array for array in self._arrays}
        ended = [each for each in outcomes if each["ended"]]
        for outcome in ended:
            self._end(by_job[outcome["id"]], outcome)
        if ended:
            return
        for outcome in outcomes:
            if NEVER_STARTS.fullmatch(outcome["reason"] or ""):
                self._refuse(by_job[outcome["id"]], outcome["reason"])
        time.sleep(LOOK_SECONDS)

    def _refuse(self, array: CallArray, reason: str) -> None:
        """Fail the calls of a job that never starts, and cancel it."""
        array.fail(CallFailed(f"job {array.job} does not start: {reason}"))
        cancel = self._hpc.slurm.cancel
        self._quietly(lambda: cancel(jobs=[str(array.job)], cluster=self._cluster))
        self._drop(array)

    def _end(self, array: CallArray, outcome: dict[str, Any]) -> None:
        """Settle all calls of an array whose job has ended."""
        array.collect(self._hpc)
        end, pauses = time.monotonic() + LATE_SECONDS, growing_pauses()
        while array.is_waiting and outcome["succeeded"] and time.monotonic() < end:
            time.sleep(next(pauses))
            array.collect(self._hpc)
        if array.is_waiting:
            array.explain(self._hpc, self._cluster)
        self._drop(array)

    def _drop(self, array: CallArray) -> None:
        array.close()
        with self._changed:
            self._arrays.remove(array)
        self._quietly(lambda: array.remove(self._hpc))

    def _give_up(self, fault: Exception) -> None:
        """Fail all calls."""
        for array in [*self._arrays]:
            array.fail(fault)
            self._drop(array)

    def _quietly(self, clean: Callable[[], object]) -> None:
        """Do something that makes no difference to the results, if it is possible."""
        # RuntimeError: the client was closed before the executor.
        with contextlib.suppress(ResopError, RuntimeError):
            clean()


def _synchronous(hpc: Resop | AsyncResop) -> Resop:
    """Return the synchronous client of a login: the executor works in a thread of its own."""
    if isinstance(hpc, Resop):
        return hpc
    return Resop(hpc.url, hpc.connection.login.token)


def _results(futures: list[Future[Result]], end: float | None) -> Iterator[Result]:
    """Yield the results in order; cancel what is left if one fails or nobody wants more."""
    futures.reverse()
    try:
        while futures:
            left = None if end is None else end - time.monotonic()
            yield _take_result(futures, left)
    finally:
        for future in futures:
            future.cancel()


def _take_result(futures: list[Future[Result]], timeout: float | None) -> Result:
    """Return the result of the last future, and keep no reference to it."""
    future = futures.pop()
    try:
        return future.result(timeout)
    finally:
        future.cancel()
        del future
