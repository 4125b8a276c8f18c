"""Tell whether the user who approves is another person than the user who asks."""

from __future__ import annotations

from typing import NamedTuple

from resop.security.identity import Identity
from resop.security.login_name import failure_key


class Account(NamedTuple):
    """An account on a cluster: its user, and its number if that is known."""

    identity: Identity
    uid: int | None


def may_be_same_person(one: Account, other: Account) -> bool:
    """Return True unless two accounts belong to two persons, as far as the names tell.

    One person may have several spellings of a name (case, domain), the same name on several
    clusters, and several names with one number on a cluster.
    """
    if failure_key(one.identity.username) == failure_key(other.identity.username):
        return True
    same_cluster = one.identity.cluster == other.identity.cluster
    return same_cluster and one.uid is not None and one.uid == other.uid
