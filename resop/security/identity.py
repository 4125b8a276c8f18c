"""A user's identity: the name that the cluster gives the account, together with the cluster.

Equal names on two clusters may be two people, and the administrator of a cluster can give any name
there. So a name decides nothing without its cluster.
"""

from __future__ import annotations

from typing import NamedTuple


class Identity(NamedTuple):
    """A user on a cluster; `str()` writes `name@cluster`."""

    username: str
    """The canonical name: what the cluster calls the account, whatever was typed at login."""
    cluster: str

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """Read `name@cluster`; None if there is no cluster.

        The last '@' counts: `alice@example.org@main` is `alice@example.org` on `main`.
        """
        username, separator, cluster = text.rpartition("@")
        return cls(username, cluster) if username and separator and cluster else None

    def __str__(self) -> str:
        return f"{self.username}@{self.cluster}"
