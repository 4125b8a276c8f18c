"""Submit a job with sbatch, and read the job's id from its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from typing_extensions import TypedDict

from operators.slurm.client import ask, unavailable_daemon
from operators.slurm.output_folders import CHECK, FOLDER_UNUSABLE, JobFolder
from operators.slurm.submit_line import END_OF_OPTIONS
from resop import CommandFailed, ContactLost, InvalidOptions, Result, Shell, StepTimedOut
from resop.errors import ResopError

MAYBE_ACCEPTED = "the job may have been accepted, look before trying again"
KILLED = range(129, 193)
"""The exit codes of programs that a signal ended; sbatch itself ends with 1 or 255."""

# The job's PATH need not have sbatch itself, which `env` would search there.
FIND_SBATCH = """\
found=
for word; do
  shift
  if [ -z "$found" ] && [ "$word" = sbatch ]; then
    found=yes word=$(command -v sbatch || echo sbatch)
  fi
  set -- "$@" "$word"
done
"""

_ID = re.compile(r"([1-9][0-9]*)(?:;(\S+))?")
_SENTENCE = re.compile(r"Submitted batch job ([1-9][0-9]*)(?: on cluster (\S+))?")
_PREFIX = re.compile(r"^sbatch: (?:error: )?")


class Submission(TypedDict):
    """A job that Slurm has accepted."""

    job: int
    """The job's id."""
    cluster: str | None
    """The Slurm cluster, if sbatch names one (sites with several clusters)."""


def sbatch(
    shell: Shell,
    *options: str,
    script: str | None = None,
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    folders: Sequence[JobFolder] = (),
) -> Submission:
    """Submit the script as text, or the file and arguments that `command` names.

    sbatch passes its own environment to the job, with `environment` added. `--export=NAME=value`
    would not do: sbatch splits it at commas. Raises InvalidOptions if one of the folders cannot be
    used; CommandFailed with all that sbatch said; ContactLost if the job may have been accepted.
    What sbatch said about an accepted job is in the task's log.
    """
    variables = [f"{name}={value}" for name, value in (environment or {}).items()]
    with_environment = ("env", *variables) if variables else ()
    export = ("--export=ALL",) if variables else ()  # the script, or the site, may set another one
    argv = (*with_environment, "sbatch", "--parsable", *export, *options)
    try:
        # `--` shows where the options end in the job's submission line, which is kept unquoted.
        answer = ask(
            shell,
            *(*argv, END_OF_OPTIONS, *command),
            input=script,
            changes=True,
            check=False,
            prepare=_preparation(folders, find_sbatch="PATH" in (environment or {})),
        )
    except StepTimedOut as fault:
        raise StepTimedOut(f"{fault.message}: {MAYBE_ACCEPTED}", **fault.details) from None
    submission = parse_answer(answer.stdout)
    if answer.exit_code != 0:
        raise _refusal(answer, submission)
    if submission is None:
        raise _no_id(answer)
    for line in _messages(answer.stderr):
        shell.log(f"sbatch: {line}")
    shell.log(f"script accepted as job {submission['job']}")
    return submission


def parse_answer(output: str) -> Submission | None:
    """Parse the output of `sbatch --parsable`: `4242`, or `4242;cluster` (sbatch(1)).

    A site's own sbatch may print something before and after it, or ignore --parsable. The last
    line counts, or else the only one that is an id.
    """
    lines = [line.strip() for line in output.strip().splitlines()]
    for pattern in (_ID, _SENTENCE):
        found = [match for line in lines if (match := pattern.fullmatch(line))]
        if len(found) == 1 or (found and found[-1].string == lines[-1]):
            return Submission(job=int(found[-1][1]), cluster=found[-1][2])
    return None


def _preparation(
    folders: Sequence[JobFolder], *, find_sbatch: bool = False
) -> tuple[str, Sequence[str]]:
    """Return the lines of shell that run before sbatch, and their arguments."""
    find = FIND_SBATCH if find_sbatch else ""
    if not folders:
        return find, ()
    arguments = (str(len(folders)), *(word for folder in folders for word in folder))
    return CHECK + find, arguments


def _messages(stderr: str) -> list[str]:
    """Return the lines that sbatch said, without its name before each."""
    lines = (_PREFIX.sub("", line).strip() for line in stderr.splitlines())
    return [line for line in lines if line]


def _refusal(answer: Result, submission: Submission | None) -> ResopError:
    """Return the error for a submission that failed, with all that sbatch said."""
    fault, messages = answer.failure(), _messages(answer.stderr)
    if answer.exit_code == FOLDER_UNUSABLE and messages:
        field = "chdir" if messages[-1].startswith("there is no folder") else "output"
        return InvalidOptions.of(field, messages[-1])
    if len(messages) > 1:
        text = "\n".join(messages)
        fault = CommandFailed(f"sbatch: {text} (exit code {answer.exit_code})", **fault.details)
    # Judged as if sbatch changed nothing: a connection may break after the job was accepted.
    is_broken = unavailable_daemon("sbatch", answer.stderr) is not None
    if submission is not None or is_broken or answer.exit_code in KILLED:
        return ContactLost(f"{fault.message}: {MAYBE_ACCEPTED}", **fault.details)
    return fault


def _no_id(answer: Result) -> ContactLost:
    said = " ".join(f"{answer.stdout} {answer.stderr}".split())[:500]
    return ContactLost(
        f"sbatch succeeded, but what it printed is no job id: {said!r}: {MAYBE_ACCEPTED}"
    )
