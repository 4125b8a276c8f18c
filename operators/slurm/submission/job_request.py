"""The script and the options of a batch job: to submit it, and to submit members of it again."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, PrivateAttr

from operators.slurm.client import NO_PREPARATION, Preparation
from operators.slurm.scripts.batch_script import (
    script_options,
    with_preparation,
    with_unix_line_ends,
)
from operators.slurm.scripts.script_file import CONVERT, SHOW_HEADER, ScriptHeader, parse_header
from operators.slurm.submission.output_folders import JobPaths, expand_home, resolve_paths
from operators.slurm.submission.submission import Submission, read_answer, sbatch
from operators.slurm.submission.submit_options import (
    BatchOptions,
    SubmitOptions,
    flags,
    require_one_script,
)
from operators.slurm.submission.sweep_table import Run, with_values
from resop import Result, Shell

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

    _header: ScriptHeader | None = PrivateAttr(default=None)
    """The lines of the script's file, once they have been read."""

    @classmethod
    def of(cls, options: SubmitOptions) -> Self:
        """Return the request for the options of a submission.

        Raises InvalidOptions unless there is one script, with modules only if it is a text.
        """
        require_one_script(options.get("script"), options.get("path"), options.get("modules"))
        given = given_options(options)
        own = {name: value for name, value in given.items() if name in cls.model_fields}
        of_job = {name: given[name] for name in BatchOptions.__annotations__ if name in given}
        return cls(**own, options=of_job)

    @property
    def paths(self) -> JobPaths:
        """The working folder and the output files, and the folders that they need."""
        field = "script" if self.path is None else "path"
        return resolve_paths(self.options, self._known_script, field=field)

    @property
    def flags(self) -> list[str]:
        """The flags of sbatch."""
        return self._flags(self.paths)

    @property
    def indexes(self) -> str | None:
        """The indexes of the array, wherever they are set; None if it is not known to be one."""
        return self.array or script_options(self._known_script).get("array")

    @property
    def _known_script(self) -> str:
        """The script, or the lines of its file that have been read."""
        return self.script or (self._header.text if self._header else "")

    @property
    def _is_converted(self) -> bool:
        """True if the script's file has line ends that sbatch refuses."""
        return self._header is not None and self._header.has_dos_line_ends

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
        if self.path is None or self._is_converted:
            return ["/dev/stdin", *self.arguments] if self.arguments else []
        return [self._file(), *self.arguments]

    def preparation(self) -> Preparation:
        """Return the lines of shell that run before sbatch for a script's file."""
        if self.path is None or (self._header is not None and not self._is_converted):
            return NO_PREPARATION
        return (SHOW_HEADER if self._header is None else CONVERT, [self._file()])

    def learn(self, answer: Result) -> bool:
        """Return True if sbatch did not run, since the script's file has lines that matter.

        They are known then, and count in a second call.
        """
        header = parse_header(answer)
        if header is None:
            return False
        self._header = header
        self.array = self.array or script_options(header.text).get("array")
        return True

    def submit(self, shell: Shell) -> Submission:
        """Submit the job. Raises what `sbatch` and `read_answer` raise."""
        answer = self._submit(shell)
        if self.learn(answer):
            answer = self._submit(shell)
        return read_answer(shell, answer)

    def _submit(self, shell: Shell) -> Result:
        paths = self.paths
        return sbatch(
            shell,
            *self._flags(paths),
            script=self.text(),
            command=self.command(),
            header=self._known_script,
            environment=self.environment,
            folders=paths.folders if self.check_folders else (),
            prepare=self.preparation(),
        )

    def _file(self) -> str:
        """Return the path of the script; './' keeps sbatch from searching PATH."""
        path = expand_home(self.path or "", "path")
        return path if path.startswith("/") else f"./{path}"

    def _flags(self, paths: JobPaths) -> list[str]:
        given = {**self.options, "array": self.array}
        if self._is_converted and "job-name" not in script_options(self._known_script):
            # sbatch does not see the file, after which the job would be named.
            given = {"job_name": posixpath.basename(self.path or ""), **self.options, **given}
        # Paths come first, where no other value can be taken for them.
        return flags({**paths.options, **given, **paths.options})


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a request sets."""
    return {name: value for name, value in options.items() if value is not None}
