"""Check the folders of a job before it is submitted: a job whose output has no place never starts.

Slurm expands neither `~` nor variables in paths. It creates missing output folders since 23.02.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from operators.slurm.scripts.batch_script import script_options
from operators.slurm.scripts.filename_patterns import is_discarded
from resop import InvalidOptions

_HOME = re.compile(r"(?:~|\$HOME|\$\{HOME\})(?:/+|$)")
_EXPANDED_BY_SHELLS = re.compile(r"^~|\$[A-Za-z_{(]")

PATH_OPTIONS = ("output", "error", "chdir")
"""They come first in a submission line, where no other value can be taken for them."""

FOLDER_UNUSABLE = 72
"""The exit code of CHECK if a folder cannot be used; it is EX_OSFILE of sysexits.h."""

# Gets the number of folders, then of each its kind and its path, and then the command line.
CHECK = f"""\
refuse() {{ printf '%s\\n' "$1" >&2; exit {FOLDER_UNUSABLE}; }}
count=$1
shift
while [ "$count" -gt 0 ]; do
  folder=$2
  case $1 in
  start) [ -d "$folder" ] || refuse "there is no folder $folder" ;;
  pattern)
    case $(sbatch --version) in
    slurm*" 22."*) refuse "this version of Slurm creates no folder with % in its name: $folder" ;;
    esac ;;
  output)
    [ -d "$folder" ] || mkdir -p -- "$folder" || refuse "the folder $folder cannot be created"
    [ -w "$folder" ] || refuse "files in $folder cannot be written" ;;
  esac
  shift 2
  count=$((count - 1))
done
"""


class JobFolder(NamedTuple):
    """A folder that a job needs."""

    kind: str
    """start: it must exist; output: it is created; pattern: Slurm must create it."""
    path: str


class JobPaths(NamedTuple):
    """The paths of a job, and the folders that it needs."""

    options: dict[str, str]
    """Working folder and output files by option, as sbatch takes them."""
    folders: list[JobFolder]


def resolve_paths(
    options: Mapping[str, Any], script: str | None, *, field: str = "script"
) -> JobPaths:
    """Return the paths that the options set, or else lines of the script.

    All are given to sbatch as options, so that the job's submission line shows where its output
    is when Slurm knows no more. In a heterogeneous job they count for the first component, where
    the script runs. Raises InvalidOptions for a path that only a shell would expand; `field` is
    where the script's lines come from.
    """
    lines = script_options(script or "")
    given = {name: options.get(name) or lines.get(name) for name in PATH_OPTIONS}
    fields = {name: name if options.get(name) else field for name in PATH_OPTIONS}
    chdir = given["chdir"] and expand_home(given["chdir"], fields["chdir"])
    paths = {
        name: expand_home(pattern, fields[name], inside=chdir)
        for name, pattern in given.items()
        if pattern and name != "chdir"
    }
    folders = folders_of(paths.values(), chdir)
    if chdir:
        paths["chdir"] = chdir
    return JobPaths(paths, folders)


def relative_to_home(path: str) -> str | None:
    """Return the rest of a path that begins with `~/` or `$HOME/`; None for another path."""
    found = _HOME.match(path)
    return (path[found.end() :] or ".") if found else None


def expand_home(path: str, field: str, *, inside: str | None = None) -> str:
    """Return a path with `~/` or `$HOME/` replaced: relative to the home folder.

    `inside` is the working folder that the path is relative to, if that is not the home folder.
    Raises InvalidOptions for what only a shell would expand.
    """
    if found := _HOME.match(path):
        if inside is not None:
            message = (
                f"Slurm does not expand {path[: found.end()]}, and paths are relative to the "
                f"working folder {inside}: give an absolute path, or one from there"
            )
            raise InvalidOptions.of(field, message)
        return path[found.end() :] or "."
    if _EXPANDED_BY_SHELLS.search(path):
        message = (
            f"Slurm does not expand {path!r}: give an absolute path, or one relative to the "
            "working folder; %u is the user, %x the job's name"
        )
        raise InvalidOptions.of(field, message)
    return path


def folders_of(patterns: Iterable[str], chdir: str | None) -> list[JobFolder]:
    """Return the folders that a job with these output files needs."""
    folders = [JobFolder("start", chdir)] if chdir else []
    for pattern in patterns:
        folder = posixpath.dirname(pattern)
        if is_discarded(pattern) or not folder or "\\" in pattern:
            continue
        kind = "pattern" if "%" in folder else "output"
        path = posixpath.join(chdir or "", folder)
        folders.append(JobFolder(kind, path if path.startswith("/") else f"./{path}"))
    return list(dict.fromkeys(folders))
