"""The arguments of a sweep: which are parameters, which are options of the job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resop_client.errors import RequestError

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def split_arguments(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and options: a name in capitals is a parameter of the script."""
    parameters = {name: value for name, value in arguments.items() if name.isupper()}
    options = {name: value for name, value in arguments.items() if name not in parameters}
    return named_values(parameters), options


def named_values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of each parameter as the service takes them."""
    return {name: parameter_values(name, each) for name, each in parameters.items()}


def parameter_values(name: str, values: Any) -> Any:
    """Return the values of a parameter as the service takes them: a list, or a range."""
    if isinstance(values, range):
        if not values:
            raise RequestError(f"{name}: the range has no values")
        return {"start": values[0], "stop": values[-1], "step": values.step}
    if hasattr(values, "tolist"):  # an array of numpy, a column of pandas
        values = values.tolist()
    if isinstance(values, Mapping):
        return dict(values)
    if isinstance(values, str | bytes | int | float):
        return [values]
    return list(values)


def read_script(script: str | Path) -> str:
    """Return the text of a batch script: of a file, or the text itself. Raises RequestError."""
    if isinstance(script, str) and ("\n" in script or script.startswith("#!")):
        return script
    try:
        return Path(script).read_text(encoding="utf-8")
    except OSError as fault:
        raise RequestError(f"{script}: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise RequestError(f"{script}: is not a text file") from None


def file_name(name: str) -> str:
    """Return the name of a result's file as the service takes it: `{index}` and `{X0}` filled in.

    The index of a run is `%a`, and a parameter `$X0`, as in the script.
    """
    return _PLACE.sub(lambda place: "%a" if place[1] == "index" else f"${place[1]}", name)
