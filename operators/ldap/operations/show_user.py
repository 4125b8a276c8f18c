"""Show a user of the directory, with groups, SSH keys and mail aliases."""

from operators.ldap.groups import GroupMember, find_memberships
from operators.ldap.people import DirectoryUserDetails, ExistingUser, details_from_entry, get_entry
from resop import Shell, operation


@operation(dry_run=True, examples=[{"username": "ada"}])
def show_user(shell: Shell, username: ExistingUser) -> DirectoryUserDetails:
    """Return the user."""
    entry = get_entry(shell, username)
    found = find_memberships(shell, GroupMember.of(entry, username))
    groups = sorted(group.first("cn") or group.dn for group in found)
    return details_from_entry(shell, entry, username, groups)
