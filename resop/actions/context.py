"""The context of a shell in a running service: its declared commands and the site's settings."""

from __future__ import annotations

from resop.actions.catalog import Catalog
from resop.config.settings import Settings


class ServiceContext:
    """The ShellContext of a running service."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self.command = catalog.command
        self._settings = settings

    def setting(self, name: str, operator: str) -> str | None:
        """Return a setting of config.env, or None.

        Raises Forbidden if the site's policy reserves the setting for other operators.
        """
        self._settings.policy().check_reader(name, operator)
        return self._settings.setting(name)
