"""`resop users`: block people, so that they cannot log in and nothing of theirs runs."""

from __future__ import annotations

from cli.audit_entries import administrator, record_command
from cli.database import open_database
from cli.keys import login_administration
from resop.config.settings import Settings
from resop.errors import SetupError, UnknownAction
from resop.plain_text import one_line
from resop.security.identity import Identity
from resop.storage.login_ends import LoginEnds

ROW = "{:33}  {:20}  {:20}  {}"


def block_user(settings: Settings, name: str, reason: str) -> None:
    """Block `NAME@CLUSTER`, end the user's logins with what runs on them, and print how many."""
    user = _user_of(settings, name)
    with open_database(settings) as database, login_administration(settings, database) as logins:
        ended = logins.block(user.username, user.cluster, reason, administrator())
        record_command(settings, database, "block", {"user": str(user), "reason": reason})
    print(f"{name} is blocked; {len(ended)} logins were ended")


def unblock_user(settings: Settings, name: str) -> None:
    """Let `NAME@CLUSTER` log in again. Raises SetupError if the user is not blocked."""
    user = Identity.parse(name) or Identity(name, "")
    with open_database(settings) as database, login_administration(settings, database) as logins:
        if not logins.unblock(user.username, user.cluster, administrator()):
            raise SetupError(f"{name} is not blocked; `resop users list` lists who is")
        record_command(settings, database, "unblock", {"user": str(user)})
    print(f"{name} can log in again")


def list_blocked(settings: Settings) -> None:
    """Print the blocked users."""
    with open_database(settings) as database:
        print(ROW.format("USER", "SINCE", "BLOCKED BY", "REASON"))
        for each in LoginEnds(database).blocked():
            user, since = Identity(each.username, each.cluster), f"{each.since:%Y-%m-%dT%H:%M:%SZ}"
            print(ROW.format(*map(one_line, (str(user), since, each.blocked_by, each.reason))))


def _user_of(settings: Settings, name: str) -> Identity:
    """Return the user `NAME@CLUSTER`. Raises SetupError without a cluster, or an unknown one."""
    user = Identity.parse(name)
    if user is None:
        clusters = " or ".join(f"{name}@{each}" for each in settings.clusters())
        raise SetupError(f"name the cluster, too: {clusters or f'{name}@CLUSTER'}")
    try:
        settings.cluster(user.cluster)
    except UnknownAction as fault:
        raise SetupError(fault.message) from None
    return user
