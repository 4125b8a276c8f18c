"""Makes the tasks of a batch, each checked like a task of its own, before anything is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from api.http.preferences import Preferences
from api.state.services import Services
from api.tasks.factory import first_step_of, new_task
from resop.actions.catalog import Action
from resop.actions.operation import Operation
from resop.actions.options import check_options, option_names, option_values
from resop.actions.sweep import BatchBody, BatchItem, OptionTemplate, batch_items
from resop.errors import InvalidOptions
from resop.security.masking import Masker, secrets_in
from resop.security.tokens import Token
from resop.storage.ids import new_id
from resop.storage.models import Batch, Task
from resop.types import MASK

SHOWN_FAULTS = 20
SHOWN_ITEMS = 5
"""Of a dry run."""
MOST_BYTES = 64 << 20
"""Of all tasks' options together: a long script times many items would fill the database."""
SLICE = 20
PAUSE_SECONDS = 0.001
"""After so many items, some milliseconds of work, other requests have their turn."""


def new_batch(action: Action, token: Token, preferred: Preferences, **values: Any) -> Batch:
    """A batch without its tasks."""
    return Batch(
        id=new_id(),
        kind=action.kind,
        operator=action.operator,
        action=action.name,
        username=token.username,
        cluster=token.cluster,
        tags=preferred.tag,
        notify=preferred.notify,
        options={},
        size=0,
        **values,
    )


class BatchFactory:
    """Makes the tasks of one batch. Takes its time: not for the event loop."""

    def __init__(
        self,
        batch: Batch,
        action: Action,
        token: Token,
        services: Services,
        preferred: Preferences,
        request_id: str,
    ) -> None:
        self.batch = batch
        self.tasks: list[Task] = []
        self.first_steps: list[dict[str, Any]] = []
        """How the first tasks of an operation begin, where it says that this can be told."""
        self._action = action
        self._token = token
        self._services = services
        # The end of the batch is told, not that of each task.
        self.preferred = preferred.model_copy(update={"notify": None})
        self._request_id = request_id
        self._faults: list[dict[str, str]] = []
        self._more_faults = 0
        self._bytes = 0
        self._secret_options: set[str] = set()
        self._constant: Masker | None = None

    def from_body(self, body: BatchBody) -> list[Task]:
        """The tasks of a new batch; InvalidOptions names what is wrong with which item."""
        template = OptionTemplate(body.options, option_names(self._action.options))
        items = batch_items(body, self._services.settings.BATCH_SIZE)
        if body.sweep is not None and (faults := template.faults(body.sweep)):
            # Once, and not for every item.
            raise InvalidOptions([{**each, "field": f"sweep.{each['field']}"} for each in faults])
        for number, item in enumerate(items):
            self._make(number, item, partial(template.fill, item))
        self._refuse_faults()
        hidden = template.parameters_of(self._secret_options, body.parameters)
        self._hide(hidden)
        self.batch.parameters = body.parameters
        self.batch.options = self._shown(body.options, self._secret_options)
        if body.sweep is not None:
            self.batch.mode = body.mode
            sweep = body.model_dump()["sweep"]
            # What is secret may stand in any of them.
            self.batch.sweep = self._shown(sweep, body.parameters if hidden else ())
        return self.tasks

    def again(self, old: Batch, given: list[tuple[dict[str, Any], BatchItem | None]]) -> list[Task]:
        """The tasks of a batch that repeats some of an old one, without secrets."""
        for number, (options, item) in enumerate(given):
            self._make(number, item or {}, partial(dict, options))
        self._refuse_faults()
        for name in ("options", "sweep", "mode", "parameters"):
            setattr(self.batch, name, getattr(old, name))
        return self.tasks

    def _make(self, number: int, item: BatchItem, fill: Callable[[], dict[str, Any]]) -> None:
        if number % SLICE == 0:
            time.sleep(PAUSE_SECONDS)
        try:
            options = check_options(self._action.options, fill())
            task = new_task(self._action, options, self._token, self._services, self.preferred)
            if isinstance(self._action, Operation) and self._action.preview:
                first = first_step_of(self._action, options, self._token, self._services)
                if number < SHOWN_ITEMS:
                    self.first_steps.append(first)
        except InvalidOptions as fault:
            self._note(number, fault)
            return
        values = option_values(options)
        masker = Masker(secrets_in(values))
        self._constant = self._constant or masker
        self._secret_options |= {name for name, value in values.items() if secrets_in(value)}
        task.request = self._request_id
        task.batch, task.number = self.batch.id, number
        task.parameters = masker.json(item)
        self._keep(task)

    def _keep(self, task: Task) -> None:
        self._bytes += len(task.encrypted_payload or b"")
        if self._bytes > MOST_BYTES:
            message = f"all tasks' options together have more than {MOST_BYTES} bytes"
            raise InvalidOptions([{"field": "options", "message": message}])
        self.tasks.append(task)

    def _note(self, number: int, fault: InvalidOptions) -> None:
        room = SHOWN_FAULTS - len(self._faults)
        found = fault.details["faults"]
        self._more_faults += len(found[room:])
        self._faults += [
            {**each, "field": f"items.{number}.{each['field']}"} for each in found[:room]
        ]

    def _refuse_faults(self) -> None:
        self.batch.size = len(self.tasks)
        self.batch.secret = bool(self._secret_options)
        if not self._faults:
            return
        fault = InvalidOptions(self._faults)
        fault.details["more_faults"] = self._more_faults
        if self._more_faults:
            fault.message += f"; and {self._more_faults} more faults"
        raise fault

    def _hide(self, parameters: Collection[str]) -> None:
        """Those that are part of a secret are not shown of any item."""
        if parameters:
            for task in self.tasks:
                task.item = {
                    name: MASK if name in parameters else value
                    for name, value in (task.parameters or {}).items()
                }

    def _shown(self, values: dict[str, Any], hidden: Collection[str]) -> dict[str, Any]:
        """Values by name, those that are hidden masked; what is secret in every task, anywhere."""
        masker = self._constant or Masker()
        return {
            name: MASK if name in hidden else masker.json(value) for name, value in values.items()
        }
