"""Suspend a user of the directory, or resume a suspended one as before."""

from typing import Annotated

from pydantic import Field

from operators.ldap.people import DirectoryUser, ExistingUser, get_user
from operators.ldap.suspension import resume as resume_logins
from operators.ldap.suspension import suspend
from resop import Shell, operation


@operation(dry_run=True, examples=[{"username": "ada"}, {"username": "ada", "resume": True}])
def suspend_user(
    shell: Shell,
    username: ExistingUser,
    resume: Annotated[bool, Field(description="resume the user instead of suspending")] = False,
) -> DirectoryUser:
    """Return the user after the change.

    The setting LDAP_SUSPEND_ATTRIBUTE says how logins are ended: by shadowExpire unless it names
    another attribute. A resumed user has the date of expiry, or the lock, of the time before.
    """
    user = get_user(shell, username)
    changed = resume_logins(shell, user["dn"]) if resume else suspend(shell, user["dn"])
    state = f"{username} {'can' if resume else 'can no longer'} log in"
    shell.log(state if changed else f"{state}: unchanged")
    if shell.dry_run:
        return DirectoryUser({**user, "suspended": not resume})
    return get_user(shell, username)
