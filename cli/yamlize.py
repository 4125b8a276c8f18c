"""`resop yamlize`: an entry of commands.yml out of a command's --help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cli import help_parser
from resop.actions.command import Command, CommandEntry
from resop.config.settings import load_settings
from resop.errors import SetupError
from resop.steps.quoting import login_shell_line

PATIENCE = 60.0


def yamlize(command: str, subcommand: str, text: str) -> str:
    """The entry as YAML, which a catalog loads as it is. SetupError where no option was found."""
    found = help_parser.options(text)
    if not found:
        raise SetupError(f"no option was found in what {command} says about itself")
    entry: dict[str, Any] = {"command": command}
    if subcommand:
        entry["subcommand"] = subcommand
    if "/" in command:
        entry["name"] = "_".join([Path(command).name, *subcommand.split()])
    if about := help_parser.description(text):
        entry["description"] = about
    entry["options"] = found
    Command("yamlize", CommandEntry.model_validate(entry))
    return yaml.safe_dump(
        [entry], sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def read_help(argv: Sequence[str], on: str | None, file: str | None) -> str:
    """What a command prints for --help: here, on a login node, or as a file has it."""
    if file == "-":
        return sys.stdin.read()
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8", errors="replace")
        except OSError as fault:
            raise SetupError(f"{file}: {fault.strerror}") from None
    asked = [*argv, "--help"]
    return _printed([*_ssh(on), login_shell_line(asked)] if on else asked)


def _ssh(on: str) -> list[str]:
    """The person's own ssh, with its keys and settings, to a host or a cluster of config.env."""
    user, at, host = on.rpartition("@")
    cluster = load_settings().clusters().get(host)
    port = ["-p", str(cluster.ssh_port)] if cluster else []
    return ["ssh", "-T", *port, "--", f"{user}{at}{cluster.address if cluster else host}"]


def _printed(argv: Sequence[str]) -> str:
    try:
        result = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except OSError as fault:
        raise SetupError(f"{argv[0]}: {fault.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SetupError(f"{argv[0]}: no answer within {PATIENCE:g} s") from None
    # Some tell their options as an error, since they know no --help.
    streams = (result.stdout, result.stderr)
    text = max((each.decode("utf-8", "replace") for each in streams), key=_options_in)
    if not _options_in(text):
        raise SetupError(result.stderr.decode("utf-8", "replace").strip() or f"{argv[0]}: no help")
    return text


def _options_in(text: str) -> int:
    return len(help_parser.options(text))
