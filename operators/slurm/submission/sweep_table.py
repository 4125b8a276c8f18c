"""The values of a sweep's parameters, and the table of them that its script contains."""

from __future__ import annotations

import json
from collections.abc import Mapping

from operators.slurm.scripts.batch_script import quote, with_preparation
from operators.slurm.submission.submit_options import ParameterName
from resop import Argument

RunValue = bool | int | float | Argument
Run = dict[ParameterName, RunValue]

VALUE_TABLE = """\
case $SLURM_ARRAY_TASK_ID in
{rows}
*) echo "this sweep has no run $SLURM_ARRAY_TASK_ID" >&2; exit 1 ;;
esac
"""


def with_values(script: str, runs: Mapping[int, Run]) -> str:
    """Return the script with the table of values before its commands, for these indexes."""
    rows = "\n".join(f"{index}) {_row(run)} ;;" for index, run in runs.items())
    return with_preparation(script, VALUE_TABLE.format(rows=rows))


def value_text(value: RunValue) -> str:
    """Return a value as JSON writes it; for a number `repr` gives the same, and faster."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool) else repr(value)


def _row(run: Run) -> str:
    return "export " + " ".join(f"{name}={quote(value_text(value))}" for name, value in run.items())
