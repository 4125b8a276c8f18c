"""Create a user in the directory, who can log in immediately."""

import posixpath
from typing import Annotated

from pydantic import Field

from operators.ldap import client
from operators.ldap.hashes import HashScheme, NewPassword, hash_password
from operators.ldap.numbers import reserve_number, resolve_number_conflict
from operators.ldap.people import (
    AsciiPath,
    DirectoryFullName,
    DirectoryUser,
    IdNumber,
    MailAddress,
    find,
    folder_owners,
    people_base,
)
from resop import Shell, Username, operation

OBJECT_CLASSES = ("inetOrgPerson", "posixAccount", "shadowAccount")


@operation(
    examples=[
        {"username": "ada", "full_name": "Ada Example", "mail": "ada@hpc.example", "password": "x1"}
    ]
)
def create_user(
    shell: Shell,
    username: Username,
    full_name: Annotated[DirectoryFullName, Field(description="full name")],
    mail: Annotated[MailAddress, Field(description="mail address")],
    password: NewPassword,
    given_name: Annotated[DirectoryFullName | None, Field(description="given names")] = None,
    surname: Annotated[
        DirectoryFullName | None,
        Field(description="surname (default: the last word of the full name)"),
    ] = None,
    uid_number: Annotated[
        IdNumber | None,
        Field(description="user id (default: the next after the highest ever given)"),
    ] = None,
    gid_number: Annotated[
        IdNumber | None, Field(description="primary group's id (default: the setting LDAP_GID)")
    ] = None,
    home: Annotated[
        AsciiPath | None, Field(description="home folder (default: /home/USERNAME)")
    ] = None,
    login_shell: Annotated[AsciiPath, Field(description="login shell")] = "/bin/bash",
    scheme: HashScheme = "CRYPT",
) -> DirectoryUser:
    """Return the new user.

    The first login creates the home folder if PAM is configured so (pam_mkhomedir). A UID is given
    only once: the entry cn=last-uidNumber below LDAP_PEOPLE keeps the highest one. A UID that owns
    a home folder counts as given, too. To give such a folder to the new user, pass its owner's UID
    as `uid_number`.
    """
    _refuse_existing(shell, username)
    home = home or f"/home/{username}"
    homes = folder_owners(shell, posixpath.dirname(home))
    owner = homes.get(posixpath.basename(home))
    if owner not in (None, uid_number):
        shell.fail(
            f"{home} exists and belongs to UID {owner}: remove it, or give uid_number={owner}"
        )
    base = people_base(shell)
    if uid_number is None:
        number = reserve_number(shell, base, "uidNumber", "LDAP_FIRST_UID", homes.values())
    else:
        number = uid_number
        if client.search(shell, base, f"(uidNumber={number})", "1.1"):
            shell.fail(f"uid_number {number} belongs to another user")
    user = DirectoryUser(
        dn=f"uid={username},{people_base(shell)}",
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
    attributes: dict[str, client.AttributeValues] = {
        "objectClass": OBJECT_CLASSES,
        "uid": [username],
        "cn": [user["full_name"]],
        "givenName": [given_name] if given_name else [],
        "sn": [str(user["surname"])],
        "mail": [mail],
        "uidNumber": [str(number)],
        "gidNumber": [str(user["gid_number"])],
        "homeDirectory": [home],
        "loginShell": [login_shell],
        "userPassword": [hash_password(shell, password, scheme)],
    }
    client.add(shell, user["dn"], attributes)
    if uid_number is None:
        user["uid_number"] = resolve_number_conflict(
            shell, user["dn"], base, "uidNumber", "LDAP_FIRST_UID", number
        )
    shell.log(f"created {username} in the directory with uidNumber {user['uid_number']}")
    return user


def _refuse_existing(shell: Shell, username: str) -> None:
    if find(shell, username):
        shell.fail(f"the directory already has a user {username}")
    if shell.run("getent", "-s", "files", "passwd", username, check=False).exit_code == 0:
        shell.fail(f"the login node has a local account {username}, which would hide the new user")
