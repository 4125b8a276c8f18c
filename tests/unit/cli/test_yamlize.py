"""`resop yamlize` on help texts in the layouts of the tools people use, and on real tools."""

from typing import Any

import pytest
import yaml

from cli.help_parser import description, options
from cli.yamlize import yamlize
from resop.errors import SetupError

GNU = """\
Usage: ls [OPTION]... [FILE]...
List information about the FILEs (the current directory by default).
Sort entries.

Mandatory arguments to long options are mandatory for short options too.
  -a, --all                  do not ignore entries starting with .
      --block-size=SIZE      with -l, scale sizes by SIZE when printing them;
                             e.g., '--block-size=M'; see SIZE format below
      --color[=WHEN]         color the output WHEN
  -c                         with -lt: sort by ctime
                             -l, --long are other words here
  -A, --catenate, --concatenate   append
      --colour[=WHEN],
      --culeur[=WHEN]        likewise
      --help        display this help and exit

The SIZE argument is an integer.
"""
ARGPARSE = """\
usage: tool [-h] [--sort-keys] [--mode {fast,slow}]
            [--indent INDENT]
            infile

A simple tool. It has more to say.

positional arguments:
  infile             a file

options:
  -h, --help         show this help message and exit
  -m {fast,slow}, --mode {fast,slow}
                     how to do it; use with --no-
                     indent
  --indent INDENT    spaces
  --names NAME [NAME ...]
                     names
  --sort-keys
"""
CLICK = """\
Usage: serve [OPTIONS] APP

  Serve an application.

Options:
  --port INTEGER                  Port.  [default: 8000]
  --loop [auto|asyncio]           Event loop.
  --delay FLOAT                   Seconds.
  --deflate BOOLEAN               Compress.
  --access-log / --no-access-log  Write a log.
  --size <big size>               Size.
  --queues COMMA SEPARATED LIST
  --input PATH                    Where from.
"""
SLURM = """\
sacct [<OPTION>]
     Valid <OPTION> values are:
     -a, --allusers:
\t           Display jobs for all users. By default, only
                   your own.
     -c, --completion: Use job completion.
         --delimiter:
\t           ASCII characters.
     -f, --file=file:
\t           Read data.
     -u, --uid, --user:
\t           Users.
     --units=[KMGTP]:
                   Unit.
     --whole-hetjob[=yes|no]:
\t\t   All of it.
"""
SACCTMGR = "     -h or --help: help\n     -i or --immediate: commit changes immediately\n"
SSHARE = "    -a or --all            all users\n    -A or --accounts=      these accounts\n"
OPENLDAP = """\
usage: ldapsearch [options] [filter]
Search options:
  -A         retrieve attribute names only
  -b basedn  base dn for search
  -P version protocol version
  -E [!]<ext>[=<extparam>] search extensions
             [!]paged  (pages)
  -LLL       no comments
             and version
  -w passwd  bind password
"""
RSYNC = "Options\n--verbose, -v            more words\n--info=FLAGS             which words\n"
CURL = " -d, --data <data>          HTTP data\n -u, --user <user:password> Who\n"


def flag(text: str, about: str = "") -> dict[str, Any]:
    return {"flag": text, "type": "flag"} | ({"description": about} if about else {})


def value(text: str, about: str, kind: str = "string") -> dict[str, Any]:
    return {"flag": text, "type": kind, "description": about}


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        (
            GNU,
            {
                "all": flag("--all", "do not ignore entries starting with ."),
                "block_size": value(
                    "--block-size=",
                    "with -l, scale sizes by SIZE when printing them; e.g., '--block-size=M'; "
                    "see SIZE format below",
                ),
                "color": {"flag": "--color=", "description": "color the output WHEN"},
                "c": flag("-c", "with -lt: sort by ctime -l, --long are other words here"),
                "catenate": flag("--catenate", "append"),
                "colour": {"flag": "--colour=", "description": "likewise"},
            },
        ),
        (
            ARGPARSE,
            {
                "mode": {
                    "flag": "--mode",
                    "type": "choice",
                    "choices": ["fast", "slow"],
                    "description": "how to do it; use with --no-indent",
                },
                "indent": value("--indent", "spaces"),
                "names": value("--names", "names"),
                "sort_keys": flag("--sort-keys"),
            },
        ),
        (
            CLICK,
            {
                "port": value("--port", "Port. [default: 8000]", "integer"),
                "loop": {
                    "flag": "--loop",
                    "type": "choice",
                    "choices": ["auto", "asyncio"],
                    "description": "Event loop.",
                },
                "delay": value("--delay", "Seconds.", "number"),
                "deflate": value("--deflate", "Compress.", "boolean"),
                "access_log": flag("--access-log", "Write a log."),
                "no_access_log": flag("--no-access-log", "Write a log."),
                "size": value("--size", "Size."),
                "queues": {"flag": "--queues", "type": "string"},
                "input_option": value("--input", "Where from."),
            },
        ),
        (
            SLURM,
            {
                "allusers": {
                    "flag": "--allusers",
                    "description": "Display jobs for all users. By default, only your own.",
                },
                "completion": {"flag": "--completion", "description": "Use job completion."},
                "delimiter": {"flag": "--delimiter", "description": "ASCII characters."},
                "file": value("--file=", "Read data."),
                "uid": {"flag": "--uid", "description": "Users."},
                "units": value("--units=", "Unit."),
                "whole_hetjob": {"flag": "--whole-hetjob=", "description": "All of it."},
            },
        ),
        (
            SACCTMGR,
            {"immediate": {"flag": "--immediate", "description": "commit changes immediately"}},
        ),
        (
            SSHARE,
            {
                "all": flag("--all", "all users"),
                "accounts": value("--accounts=", "these accounts"),
            },
        ),
        (
            OPENLDAP,
            {
                "A": flag("-A", "retrieve attribute names only"),
                "b": value("-b", "base dn for search"),
                "P": value("-P", "protocol version"),
                "E": value("-E", "search extensions [!]paged (pages)"),
                "LLL": flag("-LLL", "no comments and version"),
                "w": {**value("-w", "bind password"), "enabled": False},
            },
        ),
        (
            RSYNC,
            {"verbose": flag("--verbose", "more words"), "info": value("--info=", "which words")},
        ),
        (
            CURL,
            {
                "data": value("--data", "HTTP data"),
                "user": {**value("--user", "Who"), "enabled": False},
            },
        ),
    ],
    ids=["gnu", "argparse", "click", "sacct", "sacctmgr", "sshare", "openldap", "rsync", "curl"],
)
def test_options_are_read_from_the_layout_of(text: str, entries: dict[str, Any]) -> None:
    assert options(text) == entries
    (entry,) = yaml.safe_load(yamlize("tool", "", text))
    assert entry["options"] == entries


def test_description_is_the_first_sentence_behind_the_usage() -> None:
    assert description(GNU).startswith("List information about the FILEs (the current")
    assert description(ARGPARSE) == "A simple tool."
    assert description(CLICK) == "Serve an application."
    assert [description(text) for text in (SLURM, OPENLDAP, RSYNC, CURL)] == ["", "", "", ""]


def test_text_without_options_is_refused() -> None:
    with pytest.raises(SetupError, match="the help text of tool has no options"):
        yamlize("tool", "", "Nothing to see here.\n")
