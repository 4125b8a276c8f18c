"""The context of a shell in a running service: its declared commands and the site's settings."""

from __future__ import annotations

from resop.actions.catalog import Catalog
from resop.config.settings import Settings
from resop.security.identity import Identity


class ServiceContext:
    """The ShellContext of a running service."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self.command = catalog.command
        self._settings = settings

    def setting(
        self, name: str, operator: str, cluster: str, *, secret: bool = False
    ) -> str | None:
        """Return a setting of CLUSTERS_FILE or config.env, or None.

        Raises Forbidden if the site reserves the setting for other operators or other clusters.
        """
        self._settings.policy().check_reader(name, operator)
        return self._settings.cluster_setting(name, cluster, secret=secret)

    def is_administrator(self, identity: Identity) -> bool:
        """Return True if ADMINISTRATORS lists this user."""
        return identity in self._settings.administrators()
