"""The parts of a benchmark that its command line names, and the folder that each works in."""

from __future__ import annotations

import contextlib
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

SLURM = "slurm"
"""The part that needs a testbed."""


def parser_of(name: str, about: str | None, parts: Iterable[str]) -> ArgumentParser:
    """A parser with what all such benchmarks have."""
    parser = ArgumentParser(name, description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("-n", "--calls", type=int, default=200, help="calls at each point")
    parser.add_argument("--file", type=int, default=1024, metavar="MIB", help="of the file")
    parser.add_argument("--testbed", type=Path, metavar="FOLDER", help="state of a running one")
    parser.add_argument("--jobs", type=int, default=1000, help="of an array, and separate ones")
    return parser


def chosen(parser: ArgumentParser, parts: Collection[str]) -> Namespace:
    """What the command line says; its `parts` are those to be taken, all where none is named."""
    wanted = parser.parse_args()
    if unknown := [each for each in wanted.parts if each not in parts]:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    if SLURM in wanted.parts and wanted.testbed is None:
        parser.error(f"{SLURM} needs --testbed")
    wanted.parts = wanted.parts or [each for each in parts if each != SLURM or wanted.testbed]
    return wanted


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """One that a service and a database work in while a part is taken."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        made = Path(name)
        made.chmod(0o755)  # MariaDB's own user passes through it
        yield made
