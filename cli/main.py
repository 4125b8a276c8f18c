"""The console program `resop`."""

from __future__ import annotations

import signal


def main() -> None:
    """Do what the command line says."""
    # KeyboardInterrupt may get lost in an import (Python ignores what is raised in a callback of
    # a weak reference). Until a command has a better way, Ctrl-C simply ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cli.commands import run

    run()


if __name__ == "__main__":
    main()
