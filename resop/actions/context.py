"""What a shell knows besides its door: the declared commands, and the site's settings."""

from __future__ import annotations

from resop.actions.catalog import Catalog
from resop.config.settings import Settings


class ServiceContext:
    """The surroundings of a shell, as a running service has them."""

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self.command = catalog.command
        self._settings = settings

    def setting(self, name: str, operator: str) -> str | None:
        """A setting, for an operation of `operator`; Forbidden where it is not for that."""
        self._settings.policy().check_reader(name, operator)
        return self._settings.setting(name)
