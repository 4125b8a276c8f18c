"""Run the command line: errors become one or two lines and an exit code, never a traceback."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from resop_client import errors
from resop_client.cli.app import COMMANDS, app
from resop_client.cli.error_text import lines_of
from resop_client.cli.exit_codes import ExitCode, exit_code_of
from resop_client.cli.invocation import Invocation
from resop_client.cli.service_commands import CLIENT_WORDS, service_command

PROGRAM = "resop"
WHERE = "RESOP_TRACEBACK"
"""The variable of the environment that shows where an unexpected error comes from."""
MAYBE_VERSION = (
    errors.UnexpectedAnswer,
    errors.UnknownPath,
    errors.MethodNotAllowed,
)
"""Errors behind which a service of another version may be."""


def main() -> None:
    """Run the command that the command line names: the client's, or one of the service."""
    words = sys.argv[1:]
    may_be_service = bool(words) and (words[0] not in COMMANDS or words[0] in CLIENT_WORDS)
    if may_be_service and (command := service_command(words)):
        command()
    else:
        sys.exit(run(words))


def run(words: Sequence[str]) -> int:
    """Run a command of the client and return its exit code."""
    # The service's own program sets another handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    invocation = Invocation(profile=_profile_of(words))
    try:
        result = app.main(
            list(words),
            prog_name=PROGRAM,
            standalone_mode=False,
            obj=invocation,
            complete_var="_RESOP_COMPLETE",
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        # The reader of the output has enough; Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except click.Abort:
        if sys.stdin is not None and sys.stdin.isatty():
            click.echo("\nresop: interrupted", err=True)
            return ExitCode.INTERRUPTED
        _say(["something has to be asked for, and standard input is no terminal"])
        return ExitCode.INVALID
    except KeyboardInterrupt:
        click.echo("\nresop: interrupted", err=True)
        return ExitCode.INTERRUPTED
    except click.ClickException as fault:
        return _report_usage(fault)
    except (errors.ResopError, TimeoutError) as fault:
        return _report(invocation, fault)
    except OSError as fault:
        place = f"{fault.filename}: " if fault.filename else ""
        _say([f"{place}{fault.strerror or fault}"])
        return ExitCode.FAILED
    except Exception as fault:
        if os.environ.get(WHERE):
            traceback.print_exc()
        _say(
            [
                f"a mistake in this program: {type(fault).__name__}: {fault}",
                f"please report it; {WHERE}=1 shows where it is",
            ]
        )
        return ExitCode.SERVICE
    finally:
        invocation.opened.close()


def _profile_of(words: Sequence[str]) -> str | None:
    """Return the profile: the schema of its service is read before the options are."""
    for number, word in enumerate(words):
        if word in ("--", "sh"):  # what follows may be a command's own option
            break
        if word == "--profile" and number + 1 < len(words):
            return words[number + 1]
        if word.startswith("--profile="):
            return word.partition("=")[2]
    return None


def _report_usage(fault: click.ClickException) -> int:
    lines = [fault.format_message()]
    context = fault.ctx if isinstance(fault, click.UsageError) else None
    if context is not None:
        lines.append(f"see: {context.command_path} --help")
    _say(lines)
    return fault.exit_code


def _report(invocation: Invocation, fault: errors.ResopError | TimeoutError) -> int:
    url = ""
    if isinstance(fault, errors.ResopError) and "hpc" in invocation.__dict__:
        url = invocation.hpc.url
        if isinstance(fault, MAYBE_VERSION):
            fault = _version_fault(invocation) or fault
    _say(list(lines_of(fault, url)))
    return exit_code_of(fault)


def _version_fault(invocation: Invocation) -> errors.VersionMismatch | None:
    """Return the fault of a service that is too old or too new; None if it is neither."""
    try:
        invocation.hpc.service()
    except errors.VersionMismatch as fault:
        return fault
    except errors.ResopError:
        return None
    return None


def _say(lines: Sequence[str]) -> None:
    first, *rest = lines
    begin = click.style(f"{PROGRAM}:", fg="red") if "NO_COLOR" not in os.environ else "resop:"
    click.echo(f"{begin} {first}", err=True)
    for line in rest:
        click.echo(f"{'':{len(PROGRAM) + 1}} {line}", err=True)


if __name__ == "__main__":
    main()
