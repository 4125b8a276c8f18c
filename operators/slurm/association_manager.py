"""Read what slurmctld keeps of associations and qualities of service: limits and their use.

`scontrol show assoc_mgr` has exactly what is compared with the limits when a job is to start, with
the decay of past usage; scontrol(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from operators.slurm.client import ask, unreadable
from operators.slurm.limits import CountedLimits, counted_limits
from resop import Shell

_FIELD = re.compile(r"(?:^| )([A-Za-z/]+)=(\S*)")
_IN_BRACES = re.compile(r" (\S+)=\{([^{}]*)\}")
_UID = re.compile(r"^(.*)\(([0-9]+)\)$")


class AssociationKey(NamedTuple):
    """An association: an account, or a user in it; None stands for no user, or any partition."""

    account: str
    user: str | None = None
    partition: str | None = None


class QosUse(NamedTuple):
    """The limits of a quality of service: for all its jobs, and by account and UID.

    Accounts and users that have had no jobs yet are missing.
    """

    group: CountedLimits
    by_account: dict[str, CountedLimits]
    by_uid: dict[str, CountedLimits]


class LimitUse(NamedTuple):
    """Limits and their use, as slurmctld knows them."""

    associations: dict[AssociationKey, CountedLimits]
    """All accounts that the site shows, and the associations of the user that was asked for."""
    qos: dict[str, QosUse]
    uid: str | None
    """The UID of the user, if there is an association."""


def read_limit_use(shell: Shell, user: str) -> LimitUse:
    """Return all limits of accounts, of the user's associations and of qualities of service."""
    query = ("show", "assoc_mgr", f"users={user}", "flags=assoc,qos")
    answer = ask(shell, "scontrol", "--oneliner", *query)
    if "Association Manager state" not in answer.stdout:
        raise unreadable("scontrol", answer.stdout)
    use = LimitUse({}, {}, None)
    for line in answer.lines:
        if line.startswith("ClusterName="):
            key, uid, limits = _association(line)
            use.associations[key] = limits
            use = use._replace(uid=uid or use.uid)
        elif line.startswith("QOS="):
            name, qos = _qos(line)
            use.qos[name] = qos
    return use


def _association(line: str) -> tuple[AssociationKey, str | None, CountedLimits]:
    fields = _fields(line)
    name, uid = _split_uid(fields.get("UserName", ""))
    key = AssociationKey(fields["Account"], name or None, fields.get("Partition") or None)
    return key, uid, counted_limits(fields)


def _qos(line: str) -> tuple[str, QosUse]:
    group, _, parts = line.partition(" Account Limits=")
    accounts, _, users = parts.partition(" User Limits=")
    fields = _fields(group)
    # Slurm 22.05 has the UID alone, later releases have alice(20001).
    by_uid = {_split_uid(name)[1] or name: limits for name, limits in _in_braces(users)}
    use = QosUse(counted_limits(fields), dict(_in_braces(accounts)), by_uid)
    return _split_uid(fields["QOS"])[0], use


def _in_braces(text: str) -> Iterator[tuple[str, CountedLimits]]:
    for name, inner in _IN_BRACES.findall(text):
        yield name, counted_limits(_fields(inner))


def _fields(text: str) -> dict[str, str]:
    """Return the fields of a record; the first of a name, since a comment comes last."""
    return dict(reversed(_FIELD.findall(text)))


def _split_uid(text: str) -> tuple[str, str | None]:
    """Split `alice(20001)` into the name and the number."""
    found = _UID.match(text)
    return (found[1], found[2]) if found else (text, None)
