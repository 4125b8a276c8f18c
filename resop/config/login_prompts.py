"""A site's own answers to the prompts of its login nodes: CLUSTER_PROMPTS, `prompts` of a cluster.

A mapping of regular expressions to answers: `{"grid phrase": password, "accept.*terms": text:yes}`.
A list of answers is given in its order: `{"^password": [password, otp]}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import yaml
from pydantic import BeforeValidator

TEXT = "text:"
"""Begins an answer that is the text behind it."""
NAMED_ANSWERS = ("password", "otp", "password+otp", "username", "enter")


def read_prompts(value: object) -> Mapping[str, tuple[str, ...]]:
    """Return the answers by pattern, from a mapping or its text in YAML. Raises ValueError."""
    prompts = _from_text(value) if isinstance(value, str) else value
    if not isinstance(prompts, Mapping):
        raise ValueError("must be a mapping, such as {'grid phrase': password}")
    for pattern in prompts:
        _check_pattern(pattern)
    return {pattern: _answers(pattern, prompts[pattern]) for pattern in prompts}


Prompts = Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(read_prompts)]
"""The answers by regular expression, which ignores case and may match any part of a prompt."""


def _from_text(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as fault:
        problem = fault.problem if isinstance(fault, yaml.MarkedYAMLError) else fault
        raise ValueError(f"must be YAML: {' '.join(str(problem).split())}") from None


def _check_pattern(pattern: object) -> None:
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"{pattern!r} must be text: a regular expression")
    try:
        re.compile(pattern)
    except (re.error, RecursionError) as fault:
        raise ValueError(f"{pattern!r} must be a regular expression: {fault}") from None


def _answers(pattern: str, value: object) -> tuple[str, ...]:
    """Return one or several answers as several."""
    answers = tuple(value) if isinstance(value, list | tuple) else (value,)
    for answer in answers:
        named = answer in NAMED_ANSWERS
        if not named and not (isinstance(answer, str) and answer.startswith(TEXT)):
            names = ", ".join(NAMED_ANSWERS)
            raise ValueError(f"the answer to {pattern!r} must be {names} or {TEXT} and a text")
    if not answers:
        raise ValueError(f"there must be an answer to {pattern!r}")
    return answers
