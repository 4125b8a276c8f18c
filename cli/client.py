"""Find the command line of the client, which is a distribution of its own, in the same program."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cli.command_names import COMMAND_NAMES


def client_main(words: Sequence[str]) -> Callable[[], None] | None:
    """Return the client's command line, if it is installed and these arguments are for it."""
    try:
        from resop_client.cli.service_commands import is_for_client
    except ModuleNotFoundError:
        return None
    if words and words[0] in COMMAND_NAMES and not is_for_client(words):
        return None
    from resop_client.cli.main import main

    return main
