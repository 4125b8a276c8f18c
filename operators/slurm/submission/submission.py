"""Submit a job with sbatch, and read the job's id from its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from typing_extensions import TypedDict

from operators.slurm.client import (
    NO_PREPARATION,
    Preparation,
    ask,
    chosen_cluster,
    unavailable_daemon,
)
from operators.slurm.scripts.batch_script import component_options, script_options
from operators.slurm.scripts.submit_line import END_OF_OPTIONS
from operators.slurm.submission import dependencies, output_folders
from operators.slurm.submission.dependencies import Condition
from operators.slurm.submission.output_folders import FOLDER_UNUSABLE, JobFolder
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
_DEPENDENCY = "--dependency="
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
    header: str | None = None,
    environment: Mapping[str, str] | None = None,
    folders: Sequence[JobFolder] = (),
    prepare: Preparation = NO_PREPARATION,
) -> Result:
    """Have sbatch submit the script as text, or the file and arguments that `command` names.

    sbatch passes its own environment to the job, with `environment` added. `header` is what is
    known of a script's file; `prepare` are lines of shell that run first, and their arguments.
    Raises InvalidOptions for variables that cannot be passed; DaemonUnavailable; StepTimedOut.
    """
    known = script or header or ""
    variables, export = pass_environment(environment or {}, script_options(known).get("export"))
    argv = (*variables, "sbatch", "--parsable", *export, *options)
    checks = _preparation(
        folders, _conditions(options, known), find_sbatch="PATH" in (environment or {})
    )
    try:
        # `--` shows where the options end in the job's submission line, which is kept unquoted.
        return ask(
            shell,
            *(*argv, END_OF_OPTIONS, *command),
            input=script,
            changes=True,
            check=False,
            prepare=(prepare[0] + checks[0], [*prepare[1], *checks[1]]),
        )
    except StepTimedOut as fault:
        raise StepTimedOut(f"{fault.message}: {MAYBE_ACCEPTED}", **fault.details) from None


def read_answer(shell: Shell, answer: Result) -> Submission:
    """Return the job that sbatch has submitted.

    Raises InvalidOptions if one of the folders cannot be used, or a dependency holds nothing back;
    CommandFailed with all that sbatch said; ContactLost if the job may have been accepted. What
    sbatch said about an accepted job is in the task's log.
    """
    submission = parse_answer(answer.stdout)
    if answer.exit_code != 0:
        raise _refusal(answer, submission)
    if submission is None:
        raise _no_id(answer)
    for line in messages_of(answer.stderr):
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


def pass_environment(
    environment: Mapping[str, str], export: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words before sbatch, and its --export, that give the job these variables.

    `export` is that of the script's own lines, which stays in effect. Most variables are set for
    sbatch itself, since sbatch splits --export at commas; but not those of the dynamic linker,
    with which sbatch might not start. Raises InvalidOptions for what --export cannot carry.
    """
    if not environment:
        return (), ()
    words = [f"{name}={value}" for name, value in environment.items() if not _of_linker(name)]
    names = [
        _export_item(name, value) if _of_linker(name) else name
        for name, value in environment.items()
    ]
    own = [each for each in (export or "ALL").split(",") if each.upper() not in ("NONE", "NIL")]
    own = [each for each in own if each.partition("=")[0] not in environment]
    if "ALL" in [each.upper() for each in own]:
        names = [name for name in names if name not in environment]
    return ("env", *words) if words else (), (f"--export={','.join([*own, *names])}",)


def _of_linker(name: str) -> bool:
    return name.startswith("LD_")


def _export_item(name: str, value: str) -> str:
    if re.search("['\"]", value):
        message = "the value must not contain quotes: sbatch --export could not pass it to the job"
        raise InvalidOptions.of(f"environment.{name}", message)
    return f"'{name}={value}'" if "," in value else f"{name}={value}"


def _conditions(options: Sequence[str], script: str) -> list[Condition]:
    """Return what the job depends on, by an option or else by lines, in each of its components."""
    given = [word.removeprefix(_DEPENDENCY) for word in options if word.startswith(_DEPENDENCY)]
    first, *others = [each.get("dependency", "") for each in component_options(script)]
    wanted = [(given or [first])[0], *others]
    return [each for dependency in wanted for each in dependencies.conditions_of(dependency)]


def _preparation(
    folders: Sequence[JobFolder], conditions: Sequence[Condition], *, find_sbatch: bool
) -> Preparation:
    """Return the lines of shell that run before sbatch, and their arguments."""
    lines, arguments = "", list[str]()
    if folders:
        lines += output_folders.CHECK
        arguments += [str(len(folders)), *(word for folder in folders for word in folder)]
    if conditions:
        cluster = chosen_cluster()
        lines += dependencies.CHECK
        arguments += [str(len(conditions)), f"--clusters={cluster}" if cluster else ""]
        arguments += [word for condition in conditions for word in condition]
    return lines + (FIND_SBATCH if find_sbatch else ""), arguments


def messages_of(stderr: str) -> list[str]:
    """Return the lines that sbatch said, without its name before each."""
    lines = (_PREFIX.sub("", line).strip() for line in stderr.splitlines())
    return [line for line in lines if line]


def _refusal(answer: Result, submission: Submission | None) -> ResopError:
    """Return the error for a submission that failed, with all that sbatch said."""
    fault, messages = answer.failure(), messages_of(answer.stderr)
    if answer.exit_code == FOLDER_UNUSABLE and messages:
        field = "chdir" if messages[-1].startswith("there is no folder") else "output"
        return InvalidOptions.of(field, messages[-1])
    if answer.exit_code == dependencies.DEPENDENCY_REFUSED and messages:
        return InvalidOptions.of("dependency", messages[-1])
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
