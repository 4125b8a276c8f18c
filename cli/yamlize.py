"""`resop yamlize`: write an entry for commands.yml from a command's help text."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cli import help_parser
from resop.actions.command import Command, CommandEntry
from resop.errors import SetupError
from resop.steps.quoting import login_shell_line

HELP_TIMEOUT = 60.0
"""Seconds that a command may take to print its help, over ssh too."""


def yamlize(command: str, subcommand: str, text: str) -> str:
    """Return the entry as YAML, valid as it is. Raises SetupError if the text names no option."""
    options = help_parser.options(text)
    if not options:
        raise SetupError(f"the help text of {command} has no options that resop can read")
    entry: dict[str, Any] = {"command": command}
    if subcommand:
        entry["subcommand"] = subcommand
    if "/" in command:
        entry["name"] = "_".join([Path(command).name, *subcommand.split()])
    if description := help_parser.description(text):
        entry["description"] = description
    entry["options"] = options
    Command("yamlize", CommandEntry.model_validate(entry))
    return yaml.safe_dump(
        [entry], sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def read_help(argv: Sequence[str], host: str | None, file: str | None) -> str:
    """Read a help text: from a file ('-' is stdin), else from `argv --help`, here or on a host."""
    if file == "-":
        return sys.stdin.read()
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8", errors="replace")
        except OSError as fault:
            raise SetupError(f"{file}: {fault.strerror}") from None
    command = [*argv, "--help"]
    return _run([*_ssh(host), login_shell_line(command)] if host else command)


def _ssh(destination: str) -> list[str]:
    """Return the command line of ssh, with the person's own keys, to a host or a cluster."""
    from resop.config.settings import load_settings  # needs the extra `server`

    user, at, host = destination.rpartition("@")
    cluster = load_settings().clusters().get(host)
    port = ["-p", str(cluster.ssh_port)] if cluster else []
    return ["ssh", "-T", *port, "--", f"{user}{at}{cluster.address if cluster else host}"]


def _run(argv: Sequence[str]) -> str:
    try:
        result = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=HELP_TIMEOUT, check=False
        )
    except OSError as fault:
        raise SetupError(f"{argv[0]}: {fault.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SetupError(f"{argv[0]} did not print its help within {HELP_TIMEOUT:g} s") from None
    # A program without --help may list its options on stderr, as part of an error.
    streams = (result.stdout, result.stderr)
    text = max((each.decode("utf-8", "replace") for each in streams), key=_count_options)
    if not _count_options(text):
        message = result.stderr.decode("utf-8", "replace").strip()
        raise SetupError(message or f"{argv[0]} printed no help text")
    return text


def _count_options(text: str) -> int:
    return len(help_parser.options(text))
