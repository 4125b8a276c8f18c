"""Block a user, or lift the block, as operations that suspend and resume users do."""

from resop import Shell, Username, operation


@operation
def expel(shell: Shell, username: Username, readmit: bool = False) -> int:
    if readmit:
        return int(shell.allow_logins(username))
    return shell.end_logins(username, block="the account is suspended")
