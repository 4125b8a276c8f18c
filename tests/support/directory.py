"""Run operations of the LDAP operator on this machine, in front of a server of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resop.actions.catalog import load_catalog
from resop.actions.execute import ActionOutcome, perform_operation
from resop.actions.operation import Operation
from resop.actions.options import check_options
from tests.support.local_shell import local_shell
from tests.support.slapd import Slapd

CATALOG = load_catalog()
PERSON = {"full_name": "Ada Example", "mail": "ada@hpc.example", "password": "A-long-passw0rd!"}


def perform(settings: Mapping[str, str], action: str, /, **options: Any) -> ActionOutcome:
    """Run an operation of the operator ldap."""
    operation = CATALOG.action("ldap", "opn", action)
    assert isinstance(operation, Operation)
    shell, _ = local_shell(settings, "ldap")
    return perform_operation(operation, shell, check_options(operation.options, options))


def output(server: Slapd, action: str, /, **options: Any) -> Any:
    """Run an operation that succeeds, and return its output."""
    outcome = perform(server.settings, action, **options)
    assert outcome.error is None, outcome.error_json()
    return outcome.output


def failure(server: Slapd, action: str, /, *, more: Any = None, **options: Any) -> dict[str, Any]:
    """Run an operation that fails, with `more` settings, and return its error."""
    outcome = perform({**server.settings, **(more or {})}, action, **options)
    error = outcome.error_json()
    assert error is not None, outcome.output
    return error


def create(server: Slapd, username: str, /, **options: Any) -> Any:
    """Create a user of the directory."""
    mail = f"{username}@hpc.example"
    return output(server, "create_user", username=username, **{**PERSON, "mail": mail, **options})
