"""Write a module whose types are the actions of this very service, for editors and mypy."""

from __future__ import annotations

from pathlib import Path

import click

from resop_client.cli.command import Command
from resop_client.cli.invocation import Invocation, pass_invocation
from resop_client.cli.operators import schema_of

MODULE = '''\
"""The service's client; its actions are in the .pyi beside it. Written by `resop stubs`."""

from resop_client import Resop as Hpc

__all__ = ["Hpc"]
'''


@click.command(cls=Command)
@click.argument(
    "file", type=click.Path(dir_okay=False, path_type=Path), default="hpc.py", metavar="[FILE.py]"
)
@pass_invocation
def stubs(invocation: Invocation, file: Path) -> None:
    """Write FILE.py and FILE.pyi: a client whose actions an editor completes.

    \b
    Example:
      resop stubs hpc.py
      python -c 'from hpc import Hpc; print(Hpc().slurm.nodes()[0].name)'
    """
    from resop_client.cli.stub_text import stub_text

    if file.suffix != ".py" or not file.stem.isidentifier():
        raise click.BadParameter(f"{file} is not the name of a module, such as hpc.py")
    text = stub_text(schema_of(invocation, renew=True), invocation.hpc.url)
    file.write_text(MODULE, encoding="utf-8")
    file.with_suffix(".pyi").write_text(text, encoding="utf-8")
    invocation.note(f"Wrote {file} and {file.with_suffix('.pyi')}.")
