# Generated from ../_async/sweeps.py by scripts/make_sync.py: edit that file instead.

"""Parameter sweeps: one job array of Slurm, its progress, and its results as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from resop_client.progress import Progress, progress_of
from resop_client.record import Record
from resop_client.sweep_options import file_name
from resop_client.table import Table, parse_file, table_of

if TYPE_CHECKING:
    from resop_client._sync.client import Resop

MAX_WAIT_SECONDS = 86_400


class SweepProgress(NamedTuple):
    """How many runs of a sweep have ended."""

    done: int
    total: int


class Sweep:
    """The runs of a sweep: one job array."""

    def __init__(self, client: Resop, submission: Record, cluster: str | None) -> None:
        """`submission` is the answer of `slurm:sweep`, or of `slurm:rerun`."""
        self._client = client
        self._cluster: dict[str, Any] = {"cluster": cluster} if cluster else {}
        self.submission = submission
        self.job = int(submission["job"])
        """The id of the job array."""
        self.runs = int(submission["runs"])
        """The number of runs."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} job {self.job}, {self.runs} runs>"

    def progress(self, timeout: float = MAX_WAIT_SECONDS) -> Iterator[SweepProgress]:
        """Yield how many runs have ended whenever that changes, until all have."""
        task = self._client.start("slurm.wait", id=str(self.job), timeout=timeout, **self._cluster)
        done = -1
        for event in task.events():
            if event.kind == "progress" and event.data["done"] != done:
                done = int(event.data["done"])
                yield SweepProgress(done, int(event.data["total"]))
        task.refresh()
        outcome = task.result()
        if outcome["ended"] and done < self.runs:
            yield SweepProgress(self.runs, self.runs)

    def wait(
        self, timeout: float = MAX_WAIT_SECONDS, *, progress: Progress | bool = False
    ) -> Record:
        """Wait until all runs have ended, and return how: `succeeded`, `states`, `failed`, …

        `progress`: show a line on the terminal, or call this function.
        """
        show = progress_of(progress, f"job {self.job}")
        if progress:
            for each in self.progress(timeout):
                show(each.done, each.total)
        outcome: Record = self._client.run(
            "slurm.wait", id=str(self.job), timeout=timeout, **self._cluster
        )
        return outcome

    def results(self, *files: str, parse: bool = True, **options: Any) -> Table:
        """Return a row for each run: index, parameters, state, exit code, seconds, and files.

        `files` are names as in the script, with `{index}` or a parameter such as `{X0}` in braces;
        `stdout` and `stderr` are the output files. A column has their content: parsed if it is
        JSON, CSV or a number, None if there is no such file.
        """
        names = {name: file_name(name) for name in files}
        wanted: dict[str, Any] = {"files": list(names.values())} if names else {}
        found = self._client.run(
            "slurm.results", id=str(self.job), **wanted, **self._cluster, **options
        )
        return table_of(_row(member, names, parse=parse) for member in found["members"])

    def retry_failed(self, **options: Any) -> Sweep:
        """Submit the runs that failed again; `results` of this sweep then shows the new ones.

        `options` are those of `slurm:rerun`, such as `memory` or `time_limit`.
        """
        again = self._client.run("slurm.rerun", id=str(self.job), **self._cluster, **options)
        return Sweep(self._client, again, self._cluster.get("cluster"))

    def cancel(self) -> Any:
        """Cancel the runs that have not ended."""
        return self._client.run("slurm.cancel", jobs=[str(self.job)], **self._cluster)


def _row(member: Record, names: dict[str, str], *, parse: bool) -> dict[str, Any]:
    """Return the row of one run."""
    row = {
        "index": member["index"],
        **(member["parameters"] or {}),
        "state": member["state"],
        "exit_code": member["exit_code"],
        "seconds": member["elapsed"],
    }
    for name, sent in names.items():
        text = member["files"][sent]["text"]
        row[name] = parse_file(name, text) if parse and text is not None else text
    return row
