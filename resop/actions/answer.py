"""Compare the answer of an operation with the return type that the operation declares.

Clients read the declared type in the OpenAPI document, so an answer of another type would be a
broken promise to each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic_core import to_json

from resop.actions.options import fail_fast, option_faults
from resop.errors import OperationFault

MAX_FAULTS = 10
"""How many faults of one answer are reported; of each list, only the first is looked for."""


def check_answer(title: str, function: Callable[..., Any], output: Any) -> Any:
    """Return an answer, given as JSON, in the return type that the operation's function declares.

    JSON's types are kept apart: "5" is no int. Raises OperationFault, which names the operation
    and the fields that are wrong, and never a value.
    """
    model = answer_model(function)
    if model is None:
        return output
    try:
        return dict(model.model_validate_json(to_json({"output": output}), strict=True))["output"]
    except ValidationError as error:
        faults = option_faults(error, model, noun="key")[:MAX_FAULTS]
        summary = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        raise OperationFault(
            f"{title}: the answer does not have the declared return type: {summary}",
            faults=faults,
        ) from None


@lru_cache(maxsize=1024)
def answer_model(function: Callable[..., Any]) -> type[BaseModel] | None:
    """Return a model with the answer as its field `output`; None if any answer is right.

    That is so for a function without a return type, and for a type that JSON cannot describe.
    """
    hint = get_type_hints(function, include_extras=True).get("return", Any)
    if hint is Any:
        return None
    config = ConfigDict(hide_input_in_errors=True)
    try:
        model = create_model("answer", __config__=config, output=(hint, ...))
        model.model_json_schema()
    except PydanticUserError:
        return None
    return fail_fast(model)
