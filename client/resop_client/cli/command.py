"""Commands with the options that all of them have: -o, --jq, -q, -v and --profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from resop_client.cli.formats import FORMATS
from resop_client.cli.invocation import Invocation

CONTEXT_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


def common_options(taken: Sequence[str] = ()) -> list[click.Option]:
    """Return the options of every command; long names that are taken have their short form only."""
    options = [
        _option(
            ["-o", "--format"],
            taken,
            _set("format"),
            type=click.Choice(FORMATS),
            help="Format of the result.",
        ),
        _option(["--jq"], taken, _set("jq"), metavar="FILTER", help="Filter the result by jq."),
        _option(
            ["-q", "--quiet"], taken, _set("quiet"), is_flag=True, help="No notes, no progress."
        ),
        _option(
            ["-v", "--verbose"],
            taken,
            _set("verbose"),
            is_flag=True,
            help="Print each request as a command line of curl.",
        ),
        _option(
            ["--profile"], taken, _set("profile"), metavar="NAME", help="Use another stored login."
        ),
    ]
    return [each for each in options if each is not None]


def _option(
    names: list[str],
    taken: Sequence[str],
    callback: Callable[[click.Context, click.Parameter, Any], None],
    **more: Any,
) -> click.Option | None:
    free = [name for name in names if name not in taken]
    dest = f"common_{names[-1].strip('-')}"
    if not free:
        return None
    return click.Option([dest, *free], expose_value=False, callback=callback, default=None, **more)


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that keeps a value, wherever on the command line it was given."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and value is not False:
            setattr(context.ensure_object(Invocation), name, value)

    return keep


class Command(click.Command):
    """A command with the common options."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        """Add the common options to those of the command."""
        super().__init__(name, **settings)
        self.context_settings = {**CONTEXT_SETTINGS, **self.context_settings}
        taken = [name for parameter in self.params for name in parameter.opts]
        self.common = common_options(taken)
        self.params += self.common


class Group(click.Group):
    """A group of commands with the common options."""

    command_class = Command

    def __init__(self, name: str | None = None, **settings: Any) -> None:
        """Add the common options to those of the group."""
        super().__init__(name, **settings)
        self.context_settings = {**CONTEXT_SETTINGS, **self.context_settings}
        self.params += common_options([name for each in self.params for name in each.opts])


class DefaultGroup(Group):
    """A group whose first command is meant if none is named: `resop jobs` is `resop jobs list`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Put the default command before its options."""
        is_help = bool(args) and args[0] in self.get_help_option_names(context)
        is_default = not args or args[0].startswith("-")
        if is_default and not is_help and not context.resilient_parsing:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(context, args)
