"""Create a local account on the login node; undone where it cannot be completed."""

from typing import Annotated

from pydantic import Field, StringConstraints

from operators.linux_user.accounts import Account, as_root, existing
from operators.linux_user.hashes import Password
from operators.linux_user.operations.change_password import set_password
from resop import Shell, Username, operation

NO_HOME = 12
"""useradd(8): the home folder cannot be made. The account is there all the same."""

Group = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")]
Path = Annotated[str, Field(pattern=r"^/[^:\x00-\x1f\x7f]*$", max_length=1024)]


@operation(
    examples=[
        {"username": "ada", "password": "correct horse", "full_name": "Ada Example"},
        {"username": "robot", "login_shell": "/usr/sbin/nologin", "groups": ["gpu"]},
    ]
)
def create_user(
    shell: Shell,
    username: Username,
    password: Annotated[
        Password | None, Field(description="no login by password when not given")
    ] = None,
    full_name: Annotated[
        str, Field(pattern=r"^[^:,=\x00-\x1f\x7f]*$", max_length=256, description="real name")
    ] = "",
    uid: Annotated[
        int | None, Field(ge=1, le=2**31 - 1, description="the next free one when not given")
    ] = None,
    group: Annotated[
        Group | None, Field(description="main group; one of the same name when not given")
    ] = None,
    groups: Annotated[list[Group] | None, Field(description="further groups")] = None,
    home: Annotated[Path | None, Field(description="/home/USERNAME when not given")] = None,
    login_shell: Annotated[Path, Field(description="program of a login")] = "/bin/bash",
) -> Account:
    """Return the account as it is now.

    A name that the directory knows is refused, since the local account would hide it. A home
    folder that is there already is left as it is.
    """
    home = home or f"/home/{username}"
    if shell.run("getent", "passwd", username, check=False).exit_code == 0:
        shell.fail(f"there is a user {username} already")
    is_left = shell.run("test", "-e", home, check=False).exit_code == 0
    flags = [f"--comment={full_name}", f"--home-dir={home}", f"--shell={login_shell}"]
    flags += ["--no-create-home" if is_left else "--create-home"]
    flags += [f"--uid={uid}"] if uid else []
    flags += [f"--gid={group}"] if group else ["--user-group"]
    flags += [f"--groups={','.join(groups)}"] if groups else []
    removed = ["userdel"] if is_left else ["userdel", "--remove"]
    with shell.undone_by(*as_root(shell, *removed, username)):
        made = shell.run(*as_root(shell, "useradd", *flags, username), check=False)
        if made.exit_code not in (0, NO_HOME):
            raise made.failure()
    if made.exit_code == NO_HOME:
        raise made.failure()
    if password is not None:
        set_password(shell, username, password)
    shell.log(f"{username} is an account of the login node")
    return existing(shell, username)
