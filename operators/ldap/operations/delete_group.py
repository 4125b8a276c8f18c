"""Delete a group from the directory."""

from operators.ldap import client
from operators.ldap.groups import DirectoryGroup, get_group, group_from_entry
from operators.ldap.numbers import group_ids, record_number
from operators.ldap.people import ExistingGroup, people_base
from resop import Shell, operation

SHOWN_USERS = 5


@operation(dry_run=True, examples=[{"name": "project9"}])
def delete_group(shell: Shell, name: ExistingGroup) -> DirectoryGroup:
    """Return the deleted group, whose id is not given again.

    A group that is the primary group of users is not deleted.
    """
    entry = get_group(shell, name)
    group = group_from_entry(shell, entry, name)
    number = group["gid_number"]
    query = f"(&(objectClass=posixAccount)(gidNumber={number}))"
    found, _ = client.search_limited(shell, people_base(shell), query, SHOWN_USERS, "uid")
    if found:
        users = ", ".join(sorted(user.first("uid") or user.dn for user in found))
        shell.fail(f"{name} is the primary group of {users}: give them another one first")
    record_number(shell, group_ids(shell), number)
    client.delete(shell, entry.dn)
    shell.log(f"deleted the group {name} with gidNumber {number}")
    return group
