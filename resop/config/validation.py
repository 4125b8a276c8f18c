"""Turn a fault that pydantic finds in a file into a sentence of resop's own."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from resop.pydantic_messages import validation_message


def fault_sentence(fault: ValidationError, model: type[BaseModel], name: str) -> str:
    """Return `KEY: SENTENCE` for the first fault; `name` stands for the whole model."""
    error = fault.errors()[0]
    place = ".".join(map(str, error["loc"])) or name
    return f"{place}: {error_message(error, model)}"


def error_message(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return the message of a fault; `model` has the key that is missing or unknown."""
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return f"is not a known key; the keys are {', '.join(model.model_fields)}"
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            return f"must be a mapping with the keys {', '.join(model.model_fields)}"
        case _:
            return validation_message(error)
