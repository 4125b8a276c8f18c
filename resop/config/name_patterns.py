"""Names of users and groups in the site's files, each with the cluster that it belongs to.

`alice@main` is alice on the cluster main. A plain name would mean that name on every cluster, where
others may give it to anybody; so it is allowed only where one cluster is meant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from resop.security.identity import Identity


class NamePatterns:
    """Globs for names on clusters, such as `*-admin@main`."""

    def __init__(
        self, texts: Iterable[str], clusters: Collection[str], *, plain: bool = False
    ) -> None:
        """Compile globs; with several `clusters` each must name its own, except with `plain`.

        Raises ValueError, with the message for the administrator.
        """
        self._globs: list[tuple[str, str]] = []
        for text in texts:
            name, _, cluster = text.rpartition("@")
            names_cluster = bool(name) and any(fnmatchcase(each, cluster) for each in clusters)
            if names_cluster:
                self._globs.append((name, cluster))
            # Names of directories may contain an '@' too: with one cluster, both readings count.
            if len(clusters) <= 1 or (plain and not names_cluster):
                self._globs.append((text, "*"))
            elif not names_cluster:
                raise ValueError(_without_cluster(text, clusters))

    def matches(self, name: str, cluster: str) -> bool:
        """Return True if one of the globs matches this name on this cluster."""
        return any(
            fnmatchcase(name, name_glob) and fnmatchcase(cluster, cluster_glob)
            for name_glob, cluster_glob in self._globs
        )


def read_identities(text: str, clusters: Collection[str]) -> frozenset[Identity]:
    """Read names, separated by commas, such as `hpcadmin@main`; no globs.

    Raises ValueError for a plain name if there are several clusters.
    """
    identities = set()
    for name in filter(None, map(str.strip, text.split(","))):
        identity = Identity.parse(name)
        if identity is not None and identity.cluster in clusters:
            identities.add(identity)
        if len(clusters) == 1:
            identities.add(Identity(name, next(iter(clusters))))
        elif clusters and (identity is None or identity.cluster not in clusters):
            raise ValueError(_without_cluster(name, clusters))
    return frozenset(identities)


def _without_cluster(text: str, clusters: Collection[str]) -> str:
    choices = " or ".join(f"{text}@{each}" for each in clusters)
    return f"{text!r} names none of the {len(clusters)} clusters: write {choices}"
