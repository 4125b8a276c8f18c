"""Read the #SBATCH lines of a batch script that lies on the cluster, before it is submitted.

sbatch reads them itself. But what is checked before a submission, and which of its options hold,
depends on them, whether the script is sent as text or lies there.
"""

from __future__ import annotations

from typing import NamedTuple

from resop import Result

MAX_HEADER = 65_536
"""Bytes of a script in which its #SBATCH lines are."""
HEADER_SHOWN = 79
"""The exit code of SHOW_HEADER if it has printed the lines: none of sbatch or of sysexits.h."""

# Gets the script's path, and then the command line, which does not run if the script has lines for
# sbatch or Windows line ends. A file that cannot be read is left to sbatch.
SHOW_HEADER = f"""\
if [ -f "$1" ] && [ -r "$1" ]; then
  line_ends=unix
  ! LC_ALL=C grep -q "$(printf '\\r')\\$" <"$1" || line_ends=dos
  if [ $line_ends = dos ] || head -c {MAX_HEADER} <"$1" | LC_ALL=C grep -q '^#SBATCH'; then
    echo $line_ends
    head -c {MAX_HEADER} <"$1"
    exit {HEADER_SHOWN}
  fi
fi
shift
"""
# Gets the script's path, and makes its text with Unix line ends the standard input of sbatch.
CONVERT = """\
converted=$(mktemp) && sed "s/$(printf '\\r')\\$//" <"$1" >"$converted" || exit
exec <"$converted"
rm -f -- "$converted"
shift
"""


class ScriptHeader(NamedTuple):
    """The beginning of a batch script on the cluster."""

    text: str
    """With Unix line ends."""
    has_dos_line_ends: bool
    """True if the file has CR LF anywhere, with which sbatch refuses it."""


def parse_header(answer: Result) -> ScriptHeader | None:
    """Return the lines that SHOW_HEADER has printed; None if the command line ran."""
    if answer.exit_code != HEADER_SHOWN:
        return None
    line_ends, _, text = answer.stdout.partition("\n")
    return ScriptHeader(text.replace("\r\n", "\n"), line_ends == "dos")
