"""Command-line options that the benchmarks share, and a working folder for each part."""

from __future__ import annotations

import contextlib
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

SLURM = "slurm"
"""The part that needs a testbed."""


def create_parser(name: str, description: str | None, parts: Iterable[str]) -> ArgumentParser:
    """Create a parser with the options that all benchmarks of several parts share."""
    parser = ArgumentParser(
        f"python -m {name}", description=description, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("-n", "--calls", type=int, default=200, help="calls per point (200)")
    parser.add_argument(
        "--file", type=int, default=1024, metavar="MIB", help="size of the large file (1024)"
    )
    parser.add_argument(
        "--testbed", type=Path, metavar="FOLDER", help="state folder of a running testbed"
    )
    parser.add_argument(
        "--jobs", type=int, default=1000, help="jobs in an array, and separate jobs (1000)"
    )
    return parser


def parse_options(parser: ArgumentParser, parts: Collection[str]) -> Namespace:
    """Parse the command line; `parts` of the result are those named, or all that can run."""
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in parts]:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; choose from {', '.join(parts)}")
    if SLURM in options.parts and options.testbed is None:
        parser.error(f"{SLURM} needs --testbed FOLDER")
    options.parts = options.parts or [name for name in parts if name != SLURM or options.testbed]
    return options


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """Make a temporary folder for the service and the database of one part."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # MariaDB runs as its own user, which must enter the folder
        yield folder
