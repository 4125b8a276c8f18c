"""Submit a parameter sweep: one job array, each of whose tasks has values of its own.

The script reads them as environment variables of the parameters' names. It may be for any
interpreter. The table of values stands in the job itself, before the script.
"""

import json
import re
from typing import Annotated, Unpack

from pydantic import Field

from operators.slurm.batch_script import quoted, with_preparation
from operators.slurm.client import ask
from operators.slurm.parameter_grid import MOST_RUNS, Mode, Run, Value, Values, runs
from operators.slurm.submission import Submitted, sbatch
from operators.slurm.submit_options import BatchOptions, Count, Script, Variable, flags
from resop import CommandFailed, InvalidOptions, Shell, operation

LISTED = 1000
"""Runs that an answer lists."""

SCRIPT_BYTES = 4 << 20
"""The longest script that Slurm takes; SchedulerParameters, max_script_size (slurm.conf(5))."""

TABLE = """\
case $SLURM_ARRAY_TASK_ID in
{rows}
*) echo "this sweep has no run $SLURM_ARRAY_TASK_ID" >&2; exit 1 ;;
esac
"""

SCRIPT = "#!/bin/sh\nsrun ./sim --temperature $T --seed $SEED\n"


class Sweep(Submitted):
    """The job array of a sweep."""

    runs: int
    """How many tasks it has: 0, 1, … are their indexes."""
    values: list[Run] | None
    """What each of them has for its parameters, by index; None if there are more than 1000."""


@operation(
    resumable=True,
    preview=True,
    examples=[
        {
            "script": SCRIPT,
            "parameters": {"T": [280, 290, 300], "SEED": {"start": 1, "stop": 100}},
            "at_once": 20,
            "output": "sweep-%A_%a.out",
        },
        {"script": SCRIPT, "items": [{"T": 280, "SEED": 1}, {"T": 300, "SEED": 7}]},
    ],
)
def sweep(
    shell: Shell,
    script: Annotated[
        Script, Field(description="batch script of each run, as text; its first line is #!/…")
    ],
    parameters: Annotated[
        dict[Variable, Values] | None,
        Field(min_length=1, description="values by name: a list, or start, stop and step"),
    ] = None,
    mode: Annotated[
        Mode, Field(description="each combination of values, or the first ones, the second ones, …")
    ] = "product",
    items: Annotated[
        list[Annotated[Run, Field(min_length=1)]] | None,
        Field(
            min_length=1, max_length=MOST_RUNS, description="the runs one by one, in their place"
        ),
    ] = None,
    at_once: Annotated[Count | None, Field(description="the most runs at the same time")] = None,
    **options: Unpack[BatchOptions],
) -> Sweep:
    """Return the number of the job, and the values of each index.

    An option given here wins over the script's own #SBATCH lines; anything else can stand there.
    """
    if (parameters is None) == (items is None):
        fault = {"field": "parameters", "message": "give either parameters or items"}
        raise InvalidOptions([fault])
    made = items if items is not None else runs(parameters or {}, mode)
    table = TABLE.format(rows="\n".join(f"{n}) {_row(run)} ;;" for n, run in enumerate(made)))
    limit = f"%{at_once}" if at_once else ""
    words = flags({**options, "array": f"0-{len(made) - 1}{limit}"})
    whole = with_preparation(script, table)
    try:
        submitted = sbatch(shell, *words, script=whole)
    except CommandFailed as fault:
        field = "items" if parameters is None else "parameters"
        _explain(shell, fault, field, len(made), len(whole.encode()))
        raise
    return Sweep(**submitted, runs=len(made), values=made if len(made) <= LISTED else None)


def _row(run: Run) -> str:
    return "export " + " ".join(f"{name}={quoted(_text(value))}" for name, value in run.items())


def _text(value: Value) -> str:
    """As JSON has it; for a number `repr` gives the same, and sooner."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool) else repr(value)


def _explain(shell: Shell, fault: CommandFailed, field: str, count: int, size: int) -> None:
    """InvalidOptions with the number, where the cluster's own limit was exceeded."""
    if "Invalid job array specification" in fault.message:
        most, what = _setting(shell, r"MaxArraySize\s*=\s*(\d+)"), "MaxArraySize"
        exceeded, unit = count, "runs"
    elif "parameter too long" in fault.message:
        most, what = _setting(shell, r"max_script_size=(\d+)") or SCRIPT_BYTES, "max_script_size"
        exceeded, unit = size, "bytes of script"
    else:
        return
    if most is not None and exceeded > most:
        reason = f"make {exceeded} {unit}; this cluster takes at most {most} ({what})"
        raise InvalidOptions([{"field": field, "message": reason}]) from fault


def _setting(shell: Shell, pattern: str) -> int | None:
    found = re.search(pattern, ask(shell, "scontrol", "show", "config").stdout)
    return int(found[1]) if found else None
