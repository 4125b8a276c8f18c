"""Ask the cluster for what a page shows: run an operation of `slurm` as the API would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.http.errors import status_of_name
from api.http.preferences import check_preferences
from api.http.request_context import Caller
from api.state.services import Services
from api.tasks.run_action import run_action
from resop.actions.catalog import Catalog
from resop.storage.models import State, Task

OPERATOR = "slurm"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the cluster, as far as it has come."""

    task: Task

    @property
    def is_missing(self) -> bool:
        """True if the cluster has not answered yet."""
        return not State(self.task.state).ended

    @property
    def output(self) -> Any:
        """The output of an operation that has succeeded, else None."""
        return self.task.output if self.task.state == State.SUCCEEDED else None

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The error of an operation that has failed."""
        return self.task.error

    @property
    def status(self) -> int:
        """The HTTP status of a page that shows this."""
        return status_of_name(str(self.error["type"])) if self.error else 200


def has_slurm(catalog: Catalog) -> bool:
    """Return True if the site has the operator that these pages ask."""
    return OPERATOR in catalog.operators


async def ask(services: Services, caller: Caller, name: str, options: Mapping[str, Any]) -> Answer:
    """Run an operation, and wait for it as the API does.

    Raises what `run_action` raises: InvalidOptions, Forbidden, UnknownAction, …
    """
    action = services.catalog.operation(OPERATOR, name)
    wait = {"wait": services.settings.SYNC_WAIT}
    preferences = check_preferences(wait, services.webhook_hosts)
    return Answer((await run_action(services, caller, action, options, preferences)).task)
