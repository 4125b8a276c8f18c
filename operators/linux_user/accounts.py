"""Local accounts of the login node, and how they are changed: as root, through sudo.

Setting: LINUX_USER_SUDO, "yes" unless it says "no" (for who logs in as root).
"""

from __future__ import annotations

from typing_extensions import TypedDict

from resop import Shell

FIRST = 1000
"""The first number that is no account of the system's own (UID_MIN of login.defs(5))."""


class Account(TypedDict):
    """A local account, as passwd(5) has it."""

    username: str
    uid: int
    gid: int
    full_name: str
    home: str
    login_shell: str
    groups: list[str]
    """The names of all its groups."""


def as_root(shell: Shell, *argv: str) -> list[str]:
    """The command line that runs a program as root, and never asks for a password."""
    if shell.setting("LINUX_USER_SUDO", "yes") == "no":
        return list(argv)
    return ["sudo", "--non-interactive", *argv]


def find(shell: Shell, username: str) -> Account | None:
    """The local account of that name, or None."""
    entry = shell.run("getent", "-s", "files", "passwd", username, check=False).stdout
    if not entry:
        return None
    name, _, uid, gid, full_name, home, login_shell = entry.rstrip("\n").split(":")
    return Account(
        username=name,
        uid=int(uid),
        gid=int(gid),
        full_name=full_name.split(",")[0],
        home=home,
        login_shell=login_shell,
        groups=shell.run("id", "-Gn", username).stdout.split(),
    )


def existing(shell: Shell, username: str) -> Account:
    """The local account of that name; OperationFailed when there is none."""
    return find(shell, username) or shell.fail(f"there is no local account {username}")
