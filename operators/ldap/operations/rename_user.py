"""Give a user of the directory another user name."""

from operators.ldap import client, dn
from operators.ldap.diagnosis import NO_SUCH_ATTRIBUTE, VALUE_EXISTS, DirectoryRefusal
from operators.ldap.groups import (
    DN_ATTRIBUTES,
    NAME_ATTRIBUTE,
    GroupMember,
    find_memberships,
    remove_members,
)
from operators.ldap.ldif import LdapEntry
from operators.ldap.people import (
    DirectoryUser,
    ExistingUser,
    find,
    find_entry,
    get_user,
    user_attributes,
    user_from_entry,
)
from resop import Shell, Username, operation


@operation(dry_run=True, examples=[{"username": "ada", "new_name": "ada.example"}])
def rename_user(shell: Shell, username: ExistingUser, new_name: Username) -> DirectoryUser:
    """Return the renamed user, who is in the same groups, with the same id and home folder.

    Logins to this service under the old name end.
    """
    entry = find_entry(shell, username, *user_attributes(shell))
    if entry is None:
        shell.fail(f"there is no user {username} in the directory")
    if find(shell, new_name):
        shell.fail(f"the directory already has a user {new_name}")
    local = ("getent", "-s", "files", "passwd", new_name)
    if shell.run(*local, check=False, reads=True).exit_code == 0:
        shell.fail(f"the login node has a local account {new_name}, which would hide the user")
    old = GroupMember.of(entry, username)
    former = GroupMember(f"uid={new_name},{dn.parent(entry.dn)}", [new_name])
    for group in find_memberships(shell, former):
        remove_members(shell, group, [former])
    memberships = find_memberships(shell, old)
    new = GroupMember(_rename(shell, entry, old.names[0], new_name), [new_name])
    for group in memberships:
        _replace_member(shell, group, old, new)
    shell.end_logins(user_from_entry(shell, entry, username)["username"])
    shell.log(f"renamed {username} to {new_name}")
    if shell.dry_run:
        user = user_from_entry(shell, entry, username)
        return DirectoryUser({**user, "dn": new.dn, "username": new_name})
    return get_user(shell, new_name)


def _rename(shell: Shell, entry: LdapEntry, old_name: str, new_name: str) -> str:
    """Replace the user name in an entry, and in its DN if that has it; return the DN."""
    if dn.rdn_attribute(entry.dn).lower() == "uid" and "+" not in entry.dn.split(",")[0]:
        new_dn = f"uid={new_name},{dn.parent(entry.dn)}"
        old_rdn = entry.dn.removesuffix(dn.parent(entry.dn)).rstrip().removesuffix(",")
        client.rename(shell, entry.dn, f"uid={new_name}", new_dn, old_rdn)
        return new_dn
    changes: list[client.AttributeChange] = [
        ("delete", "uid", [old_name]),
        ("add", "uid", [new_name]),
    ]
    undo: list[client.AttributeChange] = [
        ("delete", "uid", [new_name]),
        ("add", "uid", [old_name]),
    ]
    client.modify(shell, entry.dn, changes, undo)
    return entry.dn


def _replace_member(shell: Shell, group: LdapEntry, old: GroupMember, new: GroupMember) -> None:
    """Replace the old name or DN in a group, unless the server has done so itself (refint)."""
    for attribute in (NAME_ATTRIBUTE, *DN_ATTRIBUTES):
        there = group.values(attribute)
        gone = [value for value in there if old.matches(attribute, value)]
        value = new.value(attribute)
        if not gone or gone == [value]:
            continue
        changes: list[client.AttributeChange] = [("delete", attribute, gone)]
        undo: list[client.AttributeChange] = [("add", attribute, gone)]
        if value not in there:
            changes.append(("add", attribute, [value]))
            undo.insert(0, ("delete", attribute, [value]))
        try:
            client.modify(shell, group.dn, changes, undo)
        except DirectoryRefusal as refusal:
            if refusal.code not in (NO_SUCH_ATTRIBUTE, VALUE_EXISTS):
                raise
