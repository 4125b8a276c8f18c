"""Find local accounts on the login node, and run programs as root, through sudo.

Setting: LINUX_USER_SUDO (default "yes"); "no" where administrators log in as root.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import StringConstraints
from typing_extensions import TypedDict

from resop import ErrorMessage, Result, Secret, Shell

FIRST_USER_UID = 1000
"""The lowest UID that is not a system account's (UID_MIN of login.defs(5))."""

GroupName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$"),
    ErrorMessage(
        "must be a POSIX group name: up to 32 of a-z, 0-9, '_', '.' and '-', "
        "beginning with a letter or '_'"
    ),
]


class LocalAccount(TypedDict):
    """A local account, with the fields of passwd(5)."""

    username: str
    uid: int
    gid: int
    full_name: str
    home: str
    login_shell: str
    groups: list[str]
    """The names of all groups of the account."""


def as_root(shell: Shell, *argv: str) -> list[str]:
    """Return the command line that runs a program as root without asking for a password."""
    if shell.setting("LINUX_USER_SUDO", "yes") == "no":
        return list(argv)
    return ["sudo", "--non-interactive", *argv]


def run_as_root(
    shell: Shell,
    *argv: str,
    summary: str,
    input: Sequence[str | Secret] | None = None,
    check: bool = True,
) -> Result:
    """Run a program that changes something as root; a dry run asks sudo whether it is permitted."""
    command = as_root(shell, *argv)
    if shell.dry_run and command[0] == "sudo":
        shell.run("sudo", "--non-interactive", "--list", *argv, reads=True)
    return shell.run(*command, summary=summary, input=input, check=check)


def find_account(shell: Shell, username: str) -> LocalAccount | None:
    """Return the local account of that name, or None."""
    entry = shell.run("getent", "-s", "files", "passwd", username, check=False, reads=True).stdout
    if not entry:
        return None
    name, _, uid, gid, full_name, home, login_shell = entry.rstrip("\n").split(":")
    return LocalAccount(
        username=name,
        uid=int(uid),
        gid=int(gid),
        full_name=full_name.split(",")[0],
        home=home,
        login_shell=login_shell,
        groups=shell.run("id", "-Gn", username, reads=True).stdout.split(),
    )


def get_account(shell: Shell, username: str) -> LocalAccount:
    """Return the local account of that name; OperationFailed if there is none."""
    return find_account(shell, username) or shell.fail(f"there is no local account {username}")
