"""Create a user in the directory, who can log in immediately."""

import posixpath
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from operators.ldap import client, groups, schema
from operators.ldap.diagnosis import (
    CONSTRAINT_VIOLATION,
    NO_SUCH_ATTRIBUTE,
    DirectoryRefusal,
)
from operators.ldap.existing_user import Ensure, Update, settle
from operators.ldap.hashes import HashScheme, NewPassword
from operators.ldap.ldif import LdapEntry, escape_filter
from operators.ldap.numbers import add_numbered, user_ids
from operators.ldap.passwords import hash_for_entry, is_checked_by_server, set_checked_password
from operators.ldap.people import (
    AsciiPath,
    DirectoryFullName,
    DirectoryUser,
    ExpiryDate,
    IdNumber,
    MailAddress,
    PublicKey,
    expiry_values,
    find,
    folder_owners,
    guess_surname,
    people_base,
)
from operators.ldap.suspension import SHADOW_CLASS
from operators.linux_user.passwords import GeneratePassword, first_password
from resop import Outcome, Secret, Shell, Username, operation


class NewDirectoryUser(DirectoryUser):
    """A user in the directory, and whether the user was created."""

    outcome: Outcome
    password: Secret | None
    """A generated password, which only the first answer shows."""


@operation(
    dry_run=True,
    examples=[
        {"username": "ada", "full_name": "Ada Example", "mail": "ada@hpc.example", "password": "x1"}
    ],
)
def create_user(
    shell: Shell,
    username: Username,
    full_name: Annotated[DirectoryFullName, Field(description="full name")],
    mail: Annotated[MailAddress, Field(description="mail address")],
    password: Annotated[
        NewPassword | None, Field(description="password (default: a generated one)")
    ] = None,
    generate_password: GeneratePassword = False,
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
        AsciiPath | None, Field(description="home folder (default: as the setting LDAP_HOME says)")
    ] = None,
    login_shell: Annotated[
        AsciiPath | None, Field(description="login shell (default: the setting LDAP_SHELL)")
    ] = None,
    expires: Annotated[
        ExpiryDate | None, Field(description="date from which the account is expired")
    ] = None,
    mail_aliases: Annotated[
        list[MailAddress] | None, Field(description="further mail addresses")
    ] = None,
    ssh_keys: Annotated[list[PublicKey] | None, Field(description="public SSH keys")] = None,
    scheme: Annotated[
        HashScheme | None,
        Field(
            description="how this service hashes the password (default: CRYPT, or by the server "
            "if it has a password policy)"
        ),
    ] = None,
    ensure: Ensure = False,
    update: Update = False,
) -> NewDirectoryUser:
    """Return the new user, with a generated password if none is given.

    With `ensure`, a user who exists is returned instead; the password of one is not compared.

    The first login creates the home folder if PAM is configured so (pam_mkhomedir). A UID is given
    only once: the entry cn=last-uidNumber below LDAP_PEOPLE keeps the highest one. A UID that owns
    a home folder counts as given, too. To give such a folder to the new user, pass its owner's UID
    as `uid_number`. Groups that still list an earlier user of that name no longer do.
    """
    user = DirectoryUser(
        dn=f"uid={username},{people_base(shell)}",
        username=username,
        uid_number=uid_number or 0,
        gid_number=gid_number or 0,
        full_name=full_name.strip(),
        given_name=given_name,
        surname=surname or guess_surname(full_name),
        mail=mail,
        home=home or schema.home_folder(shell, username),
        login_shell=login_shell or shell.setting("LDAP_SHELL", "/bin/bash"),
        expires=expires,
        suspended=False,
    )
    existing = find(shell, username)
    if existing and ensure:
        wanted = {
            "full_name": full_name.strip(),
            "given_name": given_name,
            "surname": surname,
            "mail": mail,
            "uid_number": uid_number,
            "gid_number": gid_number,
            "home": home,
            "login_shell": login_shell,
            "expires": expires,
            "mail_aliases": mail_aliases,
            "ssh_keys": ssh_keys,
        }
        found_user, outcome = settle(shell, existing, wanted, update=update)
        return {**found_user, "outcome": outcome, "password": None}
    if existing:
        shell.fail(f"the directory already has a user {existing['username']}")
    chosen = first_password(shell, password, generate_password or password is None)
    _refuse_local_account(shell, username)
    homes = _owners_of_homes(shell, user["home"], uid_number)
    former = groups.GroupMember(user["dn"], [username])
    primary = str(gid_number or shell.setting("LDAP_GID"))
    found = groups.find_memberships(shell, former, groups.primary_filter(primary))
    option = "gid_number" if gid_number else "the setting LDAP_GID"
    user["gid_number"] = groups.primary_number(shell, primary, found, option)
    if uid_number and client.search(shell, people_base(shell), f"(uidNumber={uid_number})", "1.1"):
        shell.fail(f"uid_number {uid_number} belongs to another user")
    is_checked = is_checked_by_server(shell, scheme)
    hashes = [] if is_checked else [hash_for_entry(shell, chosen, scheme)]
    _leave_former_groups(shell, former, found)
    keys, aliases = ssh_keys or [], mail_aliases or []
    user["uid_number"] = _add(shell, user, uid_number, homes, hashes, keys, aliases)
    if is_checked:
        set_checked_password(shell, user["dn"], chosen)
    shell.log(f"created {username} in the directory with uidNumber {user['uid_number']}")
    return {**user, "outcome": "created", "password": None if password else chosen}


def _refuse_local_account(shell: Shell, username: str) -> None:
    local = ("getent", "-s", "files", "passwd", username)
    if shell.run(*local, check=False, reads=True).exit_code == 0:
        shell.fail(f"the login node has a local account {username}, which would hide the new user")


def _owners_of_homes(shell: Shell, home: str, uid_number: int | None) -> list[int]:
    """Return the UIDs that own home folders; OperationFailed if another one owns this home."""
    homes = folder_owners(shell, posixpath.dirname(home))
    owner = homes.get(posixpath.basename(home))
    if owner not in (None, uid_number):
        shell.fail(
            f"{home} exists and belongs to UID {owner}: remove it, or give uid_number={owner}"
        )
    return list(homes.values())


def _leave_former_groups(
    shell: Shell, former: groups.GroupMember, found: Sequence[LdapEntry]
) -> None:
    """Take a former user of the same name out of the groups that still list one.

    This is not undone: if another request creates the user meanwhile, its user must not get them.
    """
    for group in found:
        try:
            is_changed = groups.remove_members(shell, group, [former], undone=False)
        except DirectoryRefusal as refusal:
            if refusal.code != NO_SUCH_ATTRIBUTE:  # another request has just done it
                raise
            continue
        if is_changed:
            name = group.first("cn") or group.dn
            shell.log(f"removed a former {former.names[0]} from the group {name}")


def _add(
    shell: Shell,
    user: DirectoryUser,
    uid_number: int | None,
    homes: list[int],
    hashes: list[Secret],
    ssh_keys: list[str],
    mail_aliases: list[str],
) -> int:
    ids = user_ids(shell)

    def attributes(number: int) -> dict[str, client.AttributeValues]:
        return _entry(shell, user, number, hashes, ssh_keys, mail_aliases)

    try:
        return add_numbered(shell, ids, user["dn"], attributes, uid_number, homes)
    except DirectoryRefusal as refusal:
        if refusal.code == CONSTRAINT_VIOLATION:
            _name_owner_of_mail(shell, [str(user["mail"]), *mail_aliases], refusal)
        raise


def _entry(
    shell: Shell,
    user: DirectoryUser,
    number: int,
    hashes: list[Secret],
    ssh_keys: list[str],
    mail_aliases: list[str],
) -> dict[str, client.AttributeValues]:
    keys, aliases = schema.key_attribute(shell), schema.alias_attribute(shell)
    needed = [
        keys.object_class if ssh_keys else None,
        aliases.object_class if mail_aliases else None,
        SHADOW_CLASS if user["expires"] else None,
    ]
    classes = [*schema.user_classes(shell), *(each for each in needed if each)]
    entry: dict[str, list[str]] = {
        "objectClass": list(dict.fromkeys(classes)),
        "uid": [user["username"]],
        "cn": [user["full_name"]],
        "givenName": [user["given_name"]] if user["given_name"] else [],
        "sn": [str(user["surname"])],
        "mail": [str(user["mail"])],
        "uidNumber": [str(number)],
        "gidNumber": [str(user["gid_number"])],
        "homeDirectory": [user["home"]],
        "loginShell": [str(user["login_shell"])],
        "shadowExpire": expiry_values(user["expires"]),
    }
    for name, more in ((keys.name, ssh_keys), (aliases.name, mail_aliases)):
        entry[name] = list(dict.fromkeys([*entry.get(name, []), *more]))
    values = {name: str(value) for name, value in user.items() if value is not None}
    further = schema.further_attributes(shell, values | {"uid_number": str(number)})
    replaced = {name.lower() for name in further}
    kept = {name: each for name, each in entry.items() if name.lower() not in replaced}
    return {**kept, **further, "userPassword": hashes}


def _name_owner_of_mail(shell: Shell, addresses: list[str], refusal: DirectoryRefusal) -> None:
    """Fail with the name of the user who has one of these addresses, if there is one."""
    query = f"(|{''.join(f'(mail={escape_filter(each)})' for each in addresses)})"
    for other in client.search(shell, people_base(shell), query, "uid", "mail"):
        taken = ", ".join(each for each in other.values("mail") if each in addresses)
        shell.fail(f"{other.first('uid') or other.dn} has the mail address {taken}: {refusal.info}")
