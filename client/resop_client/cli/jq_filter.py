"""Filter results by jq, through the package `jq`, or the program of that name."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import click


def filtered(value: Any, expression: str) -> str:
    """Return what a filter of jq makes of a value: text as it is, everything else as JSON.

    Raises ClickException if the filter is wrong, or jq is not installed.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        import jq
    except ImportError:
        return _by_program(text, expression)
    try:
        results = jq.compile(expression).input_text(text).all()
    except ValueError as fault:
        raise click.ClickException(f"--jq: {fault}") from None
    return "".join(f"{_line(each)}\n" for each in results)


def _line(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _by_program(text: str, expression: str) -> str:
    program = shutil.which("jq")
    if program is None:
        raise click.ClickException(
            "--jq needs jq, which is not installed: pip install 'resop-client[jq]', "
            "or install the program jq"
        )
    done = subprocess.run(
        [program, "--raw-output", "--compact-output", f" {expression}"],  # it may begin with '-'
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(f"--jq: {done.stderr.strip()}")
    return done.stdout
