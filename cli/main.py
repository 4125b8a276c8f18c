"""Run the `resop` command line: the console script, or `python -P -m cli.main`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command that the command line names: of the service, or of the client if it is here.

    Whichever distribution's `resop` was installed last, both have the commands of both.
    """
    _ignore_current_directory()
    from cli.client import client_main

    if found := client_main(sys.argv[1:]):
        found()
    else:
        main_of_service()


def main_of_service() -> None:
    """Run the command of the service that the command line names."""
    # Python ignores a KeyboardInterrupt raised in a weak reference's callback, so an import may
    # swallow Ctrl-C. Until a command installs a handler of its own, Ctrl-C ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cli.commands import run

    run()


def _ignore_current_directory() -> None:
    """Undo what `python -m` did: folders named api or worker there would replace our packages."""
    source = Path(__file__).parents[1]
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()] and source != Path.cwd():  # noqa: PTH109 # compared as text
        del sys.path[0]


if __name__ == "__main__":
    main()
