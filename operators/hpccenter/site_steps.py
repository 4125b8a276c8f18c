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
from resop.actions.executor import CallableOperation
from resop.actions.options import check_options


class SiteSteps:
    """The operations that a setting names."""

    def __init__(self, shell: Shell, setting: str) -> None:
        """Find the operations; fail if the setting names one that does not exist."""
        self._shell = shell
        self._setting = setting
        self._steps = [(name, self._find(name)) for name in words_setting(shell, setting)]

    def run(self, known: Mapping[str, Any]) -> list[str]:
        """Run the steps with what the action knows of the user; return their names."""
        for name, step in self._steps:
            try:
                options = check_options(step.options, _accepted(step, known))
            except InvalidOptions as fault:
                self._shell.fail(f"{name}, a step of {self._setting}: {fault.message}")
            step(self._shell, **step.arguments(options))
        return [name for name, _ in self._steps]

    def _find(self, name: str) -> CallableOperation:
        operator, _, operation = name.rpartition(":")
        try:
            return self._shell.context.operation(operator, operation)
        except UnknownAction as fault:
            self._shell.fail(f"the setting {self._setting}: {fault.message}")


def _accepted(step: CallableOperation, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the operation declares of these options."""
    names = {field.alias for field in step.options.model_fields.values()}
    return {name: value for name, value in known.items() if name in names and value is not None}
