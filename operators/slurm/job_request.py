"""The script and the options of a batch job: to submit it, and to submit members of it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from operators.slurm.batch_script import script_options, with_preparation, with_unix_line_ends
from operators.slurm.output_folders import JobPaths, expand_home, resolve_paths
from operators.slurm.submission import Submission, sbatch
from operators.slurm.submit_options import flags
from operators.slurm.sweep_table import Run, with_values
from resop import Shell

# `module` is a shell function, which only a login shell is certain to have.
LOAD_MODULES = """\
command -v module >/dev/null || . /etc/profile
module load {modules} || exit
"""


class JobRequest(BaseModel):
    """A script, as text or as a path on the cluster, and the options of its job."""

    script: str | None = None
    path: str | None = None
    arguments: list[str] = []
    environment: dict[str, str] | None = None
    modules: list[str] = []
    options: dict[str, Any] = {}
    """Options of sbatch by our names; see `BatchOptions`."""
    array: str | None = None
    """Indexes, with the limit of tasks at the same time: 0-199%20."""
    runs: dict[int, Run] | None = None
    """The parameters' values of each run of a sweep, by index."""
    check_folders: bool = True

    @property
    def paths(self) -> JobPaths:
        """The working folder and the output files, and the folders that they need."""
        return resolve_paths(self.options, self.script)

    @property
    def flags(self) -> list[str]:
        """The flags of sbatch."""
        return self._flags(self.paths)

    @property
    def indexes(self) -> str | None:
        """The indexes of the array, wherever they are set; None if it is not known to be one."""
        return self.array or script_options(self.script or "").get("array")

    def text(self) -> str | None:
        """Return the script for sbatch; None if it is a file on the cluster."""
        if self.script is None:
            return None
        if self.runs is not None:
            return with_values(self.script, self.runs)
        if self.modules:
            lines = LOAD_MODULES.format(modules=" ".join(self.modules))
            return with_preparation(self.script, lines)
        return with_unix_line_ends(self.script)

    def command(self) -> list[str]:
        """Return the script's path and its arguments, as far as sbatch needs them."""
        if self.path is None:
            return ["/dev/stdin", *self.arguments] if self.arguments else []
        path = expand_home(self.path, "path")
        # './' keeps sbatch from searching PATH.
        return [path if path.startswith("/") else f"./{path}", *self.arguments]

    def submit(self, shell: Shell) -> Submission:
        """Submit the job. Raises what `sbatch` raises, and InvalidOptions for its paths."""
        paths = self.paths
        return sbatch(
            shell,
            *self._flags(paths),
            script=self.text(),
            command=self.command(),
            environment=self.environment,
            folders=paths.folders if self.check_folders else (),
        )

    def _flags(self, paths: JobPaths) -> list[str]:
        # Paths come first, where no other value can be taken for them.
        return flags({**paths.options, **self.options, **paths.options, "array": self.array})


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a request sets."""
    return {name: value for name, value in options.items() if value is not None}
