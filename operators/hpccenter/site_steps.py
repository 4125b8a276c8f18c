"""Run a site's own steps as parts of an action: undone with it, and listed if they cannot be.

A setting such as HPCCENTER_CREATE_STEPS names operations of the site, in their order:

    HPCCENTER_CREATE_STEPS=mysite:create_scratch mysite:subscribe

Each gets those options that it declares, of the ones that the action knows: `username`, …
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.ldap.settings import words_setting
from resop import InvalidOptions, Shell, UnknownAction


class SiteSteps:
    """The operations that a setting names."""

    def __init__(self, shell: Shell, setting: str) -> None:
        """Fail if the setting names an operation that does not exist."""
        self._shell = shell
        self._setting = setting
        self._names = words_setting(shell, setting)
        try:
            for name in self._names:
                shell.operation(name)
        except UnknownAction as fault:
            shell.fail(f"the setting {setting}: {fault.message}")

    def run(self, known: Mapping[str, Any]) -> None:
        """Run the steps with what the action knows of the user."""
        given = {name: value for name, value in known.items() if value is not None}
        for name in self._names:
            try:
                self._shell.call(name, given)
            except InvalidOptions as fault:
                self._shell.fail(f"{name}, a step of {self._setting}: {fault.message}")
