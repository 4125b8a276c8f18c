"""A site's own answers to the prompts of its login nodes: CLUSTER_PROMPTS, `prompts` of a cluster.

A mapping of regular expressions to answers: `{"grid phrase": password, "accept.*terms": text:yes}`.
A list of answers is given in its order: `{"^password": [password, otp]}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import yaml
from pydantic import AfterValidator, BeforeValidator, Field

from resop.types import ErrorMessage

TEXT = "text:"
"""Begins an answer that is the text behind it."""
NAMED_ANSWERS = ("password", "otp", "password+otp", "username", "enter")


def _check_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as fault:
        raise ValueError(f"{text!r} is not a regular expression: {fault}") from None
    return text


def _as_list(answers: object) -> object:
    return [answers] if isinstance(answers, str) else answers


Answer = Annotated[
    str,
    Field(pattern=rf"^({'|'.join(map(re.escape, NAMED_ANSWERS))}|{TEXT}.*)$"),
]
Answers = Annotated[
    tuple[Answer, ...],
    BeforeValidator(_as_list),
    Field(min_length=1),
    ErrorMessage("must be password, otp, password+otp, username, enter, or text: and the text"),
]
Prompts = Mapping[Annotated[str, AfterValidator(_check_pattern)], Answers]
"""The answers by regular expression, which ignores case and may match any part of a prompt."""


def read_prompts(text: object) -> object:
    """Return the mapping in CLUSTER_PROMPTS: YAML or JSON on one line. Raises ValueError."""
    if not isinstance(text, str):
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as fault:
        raise ValueError(" ".join(str(fault).split())) from None
