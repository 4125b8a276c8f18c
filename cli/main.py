"""Run the `resop` command line: the console script, or `python -P -m cli.main`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command that the command line names."""
    # Python ignores a KeyboardInterrupt raised in a weak reference's callback, so an import may
    # swallow Ctrl-C. Until a command installs a handler of its own, Ctrl-C ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _ignore_current_directory()
    from cli.commands import run

    run()


def _ignore_current_directory() -> None:
    """Undo what `python -m` did: folders named api or worker there would replace our packages."""
    source = Path(__file__).parents[1]
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()] and source != Path.cwd():  # noqa: PTH109 # compared as text
        del sys.path[0]


if __name__ == "__main__":
    main()
