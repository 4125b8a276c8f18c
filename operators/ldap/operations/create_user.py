"""Create a person in the directory, who can log in from then on."""

import posixpath
from typing import Annotated

from pydantic import Field

from operators.ldap import client
from operators.ldap.hashes import NewPassword, Scheme, hashed
from operators.ldap.people import (
    AsciiPath,
    FullName,
    Mail,
    Number,
    User,
    find,
    free_number,
    owners,
    people,
    settled_number,
)
from resop import Shell, Username, operation

CLASSES = ("inetOrgPerson", "posixAccount", "shadowAccount")


@operation(
    examples=[
        {"username": "ada", "full_name": "Ada Example", "mail": "ada@hpc.example", "password": "x1"}
    ]
)
def create_user(
    shell: Shell,
    username: Username,
    full_name: Annotated[FullName, Field(description="as people write it")],
    mail: Annotated[Mail, Field(description="mail address")],
    password: NewPassword,
    given_name: Annotated[FullName | None, Field(description="given names")] = None,
    surname: Annotated[
        FullName | None, Field(description="the last word of the full name when not given")
    ] = None,
    uid_number: Annotated[
        Number | None, Field(description="the next above all in use when not given")
    ] = None,
    gid_number: Annotated[
        Number | None, Field(description="main group; the setting LDAP_GID when not given")
    ] = None,
    home: Annotated[AsciiPath | None, Field(description="/home/USERNAME when not given")] = None,
    login_shell: Annotated[AsciiPath, Field(description="program of a login")] = "/bin/bash",
    scheme: Scheme = "CRYPT",
) -> User:
    """Return the person as the directory has it now.

    The home folder is made by the first login, where PAM does that (pam_mkhomedir). Numbers that
    own a folder beside it are in use: who has left may have left a home. One that was left is
    handed over only by its owner's `uid_number`.
    """
    _refuse_existing(shell, username)
    home = home or f"/home/{username}"
    homes = owners(shell, posixpath.dirname(home))
    left = homes.get(posixpath.basename(home))
    if left not in (None, uid_number):
        shell.fail(f"{home} is there and belongs to {left}: remove it, or give uid_number={left}")
    number = uid_number or free_number(
        shell, people(shell), "uidNumber", "LDAP_FIRST_UID", homes.values()
    )
    if uid_number and client.search(shell, people(shell), f"(uidNumber={number})", "1.1"):
        shell.fail(f"the number {number} is somebody else's")
    user = User(
        dn=f"uid={username},{people(shell)}",
        username=username,
        uid_number=number,
        gid_number=gid_number or int(shell.setting("LDAP_GID")),
        full_name=full_name.strip(),
        given_name=given_name,
        surname=surname or full_name.split()[-1],
        mail=mail,
        home=home,
        login_shell=login_shell,
        expires=None,
        suspended=False,
    )
    attributes: dict[str, client.Values] = {
        "objectClass": CLASSES,
        "uid": [username],
        "cn": [user["full_name"]],
        "givenName": [given_name] if given_name else [],
        "sn": [str(user["surname"])],
        "mail": [mail],
        "uidNumber": [str(number)],
        "gidNumber": [str(user["gid_number"])],
        "homeDirectory": [home],
        "loginShell": [login_shell],
        "userPassword": [hashed(shell, password, scheme)],
    }
    client.add(shell, user["dn"], attributes)
    if uid_number is None:
        user["uid_number"] = settled_number(
            shell, user["dn"], people(shell), "uidNumber", "LDAP_FIRST_UID", number
        )
    shell.log(f"{username} is in the directory, with number {user['uid_number']}")
    return user


def _refuse_existing(shell: Shell, username: str) -> None:
    if find(shell, username):
        shell.fail(f"{username} is in the directory already")
    if shell.run("getent", "-s", "files", "passwd", username, check=False).exit_code == 0:
        shell.fail(f"{username} is a local account of the login node, which would hide the new one")
