"""Completion of commands, operators, actions and options for bash, zsh and fish."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from resop_client.cli.command import Command

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion for a shell.

    \b
    bash:  echo 'eval "$(resop completion bash)"' >>~/.bashrc
    zsh:   echo 'eval "$(resop completion zsh)"' >>~/.zshrc
    fish:  resop completion fish >~/.config/fish/completions/resop.fish

    Operators and their actions are completed from what was last read of the service.
    """
    from resop_client.cli.app import app

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(app, {}, "resop", "_RESOP_COMPLETE").source())
