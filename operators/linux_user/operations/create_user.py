"""Create a local account on the login node; a failure undoes what was done before it."""

from typing import Annotated

from pydantic import Field

from operators.linux_user.accounts import (
    GroupName,
    LocalAccount,
    as_root,
    get_account,
    run_as_root,
)
from operators.linux_user.hashes import Password
from operators.linux_user.operations.change_password import set_password
from operators.linux_user.passwords import GeneratePassword, first_password
from resop import ErrorMessage, Outcome, Secret, Shell, Username, operation

CANNOT_CREATE_HOME = 12
"""useradd(8): the account was created, but its home folder could not be."""

NO_SUCH_USER = 6
"""userdel(8): the account does not exist."""

PasswdPath = Annotated[
    str,
    Field(pattern=r"^/[^:\x00-\x1f\x7f]*$", max_length=1024),
    ErrorMessage("must be an absolute path without ':' and control characters (at most 1024)"),
]
RealName = Annotated[
    str,
    Field(pattern=r"^[^:,=\x00-\x1f\x7f]*$", max_length=256),
    ErrorMessage("must be a name without ':', ',', '=' and control characters (at most 256)"),
]


class NewLocalAccount(LocalAccount):
    """A local account, and whether it was created."""

    outcome: Outcome
    password: Secret | None
    """A generated password, which only the first answer shows."""


@operation(
    dry_run=True,
    examples=[
        {"username": "ada", "password": "correct horse", "full_name": "Ada Example"},
        {"username": "robot", "login_shell": "/usr/sbin/nologin", "groups": ["gpu"]},
    ],
)
def create_user(
    shell: Shell,
    username: Username,
    password: Annotated[
        Password | None,
        Field(description="password (default: none, which disables login by password)"),
    ] = None,
    generate_password: GeneratePassword = False,
    full_name: Annotated[RealName, Field(description="full name of the person")] = "",
    uid: Annotated[
        int | None, Field(ge=1, le=2**31 - 1, description="user id (default: the next free one)")
    ] = None,
    group: Annotated[
        GroupName | None,
        Field(description="primary group (default: a new one with the user's name)"),
    ] = None,
    groups: Annotated[list[GroupName] | None, Field(description="supplementary groups")] = None,
    home: Annotated[
        PasswdPath | None, Field(description="home folder (default: /home/USERNAME)")
    ] = None,
    login_shell: Annotated[PasswdPath, Field(description="login shell")] = "/bin/bash",
) -> NewLocalAccount:
    """Return the new account, with a generated password if that was asked for.

    Fails for a name that the directory already has, since the local account would hide it. An
    existing home folder is not changed.
    """
    chosen = first_password(shell, password, True) if generate_password else password
    home = home or f"/home/{username}"
    if shell.run("getent", "passwd", username, check=False, reads=True).exit_code == 0:
        shell.fail(f"the user {username} already exists")
    _check_ids(shell, uid, [*([group] if group else []), *(groups or [])])
    home_exists = shell.run("test", "-e", home, check=False, reads=True).exit_code == 0
    flags = [f"--comment={full_name}", f"--home-dir={home}", f"--shell={login_shell}"]
    flags += ["--no-create-home" if home_exists else "--create-home"]
    flags += [f"--uid={uid}"] if uid else []
    flags += [f"--gid={group}"] if group else ["--user-group"]
    flags += [f"--groups={','.join(groups)}"] if groups else []
    undo = ["userdel"] if home_exists else ["userdel", "--remove"]
    with shell.undone_by(
        *as_root(shell, *undo, username),
        what=f"delete the local account {username}",
        where="local accounts",
        absent=[NO_SUCH_USER],
    ):
        summary = f"create the local account {username}"
        result = run_as_root(shell, "useradd", *flags, username, summary=summary, check=False)
        if result.exit_code not in (0, CANNOT_CREATE_HOME):
            raise result.failure()
    if result.exit_code == CANNOT_CREATE_HOME:
        raise result.failure()
    if chosen is not None:
        set_password(shell, username, chosen)
    shell.log(f"created the local account {username}")
    shown = chosen if generate_password else None
    if shell.dry_run:
        account = LocalAccount(
            username=username,
            uid=uid or 0,
            gid=0,
            full_name=full_name,
            home=home,
            login_shell=login_shell,
            groups=[group or username, *(groups or [])],
        )
    else:
        account = get_account(shell, username)
    return {**account, "outcome": "created", "password": shown}


def _check_ids(shell: Shell, uid: int | None, groups: list[str]) -> None:
    """Fail for a UID that is taken and for a group that does not exist."""
    if uid and shell.run("getent", "passwd", uid, check=False, reads=True).exit_code == 0:
        shell.fail(f"uid {uid} belongs to another user")
    found = shell.run("getent", "group", *groups, check=False, reads=True).lines if groups else []
    known = {line.partition(":")[0] for line in found}
    if unknown := [name for name in groups if name not in known]:
        shell.fail(f"there is no group {', '.join(unknown)}")
