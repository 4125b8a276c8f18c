"""Create the tasks of a batch: each is validated like a single task before any is stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from api.http.preferences import Preferences
from api.http.request_context import Caller
from api.http.table_body import MAX_TABLE_FAULTS, ItemTable
from api.state.services import Services
from api.tasks.approval_request import ApprovalRequest
from api.tasks.factory import failed_task, first_step_of, new_task
from resop.actions.call import ActionCall
from resop.actions.catalog import Action
from resop.actions.operation import Operation
from resop.actions.options import option_names, secret_options
from resop.actions.sweep import BatchBody, BatchItem, OptionTemplate, batch_items
from resop.errors import InvalidOptions
from resop.security.masking import Masker
from resop.security.tokens import Token
from resop.storage.ids import new_id
from resop.storage.models import Batch, Task
from resop.types import MASK

MAX_REPORTED_FAULTS = 20
PREVIEWED_ITEMS = 5
"""How many items a dry run shows."""
MAX_OPTION_BYTES = 64 << 20
"""Limit for the options of all tasks together: long scripts would otherwise fill the database."""
ITEMS_PER_SLICE = 20
YIELD_SECONDS = 0.001
"""How long to pause after each slice, some milliseconds of work, so that other requests run."""


def new_batch(action: Action, token: Token, preferences: Preferences, **values: Any) -> Batch:
    """Return a batch without tasks, not yet stored."""
    return Batch(
        id=new_id(),
        kind=action.kind,
        operator=action.operator,
        action=action.name,
        username=token.username,
        cluster=token.cluster,
        tags=preferences.tag,
        notify=preferences.notify,
        options={},
        size=0,
        **values,
    )


class BatchFactory:
    """Creates the tasks of one batch. Blocks: not for the event loop."""

    def __init__(
        self,
        services: Services,
        caller: Caller,
        action: Action,
        preferences: Preferences,
        batch: Batch,
        approval: ApprovalRequest | None = None,
    ) -> None:
        self.batch = batch
        self.tasks: list[Task] = []
        self.first_steps: list[dict[str, Any]] = []
        """The first steps of the first items, for an operation with a preview."""
        # The end of the batch is notified, not that of each task.
        self._preferences = preferences.model_copy(update={"notify": None})
        self._services = services
        self._caller = caller
        self._action = action
        self._approval = approval
        self._faults: list[dict[str, str]] = []
        self._unreported_faults = 0
        self._table: ItemTable | None = None
        self._keep_going = False
        self._refused: list[tuple[int, BatchItem, list[dict[str, str]]]] = []
        """Number, parameters and faults of each invalid item, if the batch keeps going."""
        self._bytes = 0
        self._secret_options: set[str] = set()
        self._first_masker: Masker | None = None

    def create(self, body: BatchBody, table: ItemTable | None = None) -> None:
        """Create the tasks of a new batch, whose items may come from a table.

        Raises InvalidOptions, which names each wrong item, unless the batch keeps going.
        """
        self._table, self._keep_going = table, body.keep_going
        if table is not None:
            self._faults = [*table.faults]
        template = OptionTemplate(body.options, option_names(self._action.options))
        items = batch_items(body, self._services.settings.BATCH_SIZE)
        if body.sweep is not None and (faults := template.faults(body.sweep)):
            # Reported once, and not for every item.
            raise InvalidOptions([{**each, "field": f"sweep.{each['field']}"} for each in faults])
        self._check_size(sum(map(template.filled_size, items)))
        for number, item in enumerate(batch_items(body, self._services.settings.BATCH_SIZE)):
            self._add(number, item, partial(template.fill, item))
        self._fail_refused_items(set().union(*template.used.values()))
        self._refuse_faults()
        secret_parameters = template.parameters_of(self._secret_options, body.parameters)
        self._mask_parameters(secret_parameters)
        self.batch.parameters = body.parameters
        self.batch.options = self._masked(body.options, self._secret_options)
        if body.sweep is not None:
            self.batch.mode = body.mode
            sweep = body.model_dump()["sweep"]
            # A secret may be a part of any of its values.
            self.batch.sweep = self._masked(sweep, body.parameters if secret_parameters else ())

    def repeat(self, old: Batch, inputs: list[tuple[dict[str, Any], BatchItem | None]]) -> None:
        """Create tasks that repeat some of an old batch's, which has no secret options.

        `inputs` are the options and the parameters of each task.
        """
        self._keep_going = True  # its invalid items must not keep the others from being repeated
        for number, (options, item) in enumerate(inputs):
            self._add(number, item or {}, partial(dict, options))
        self._fail_refused_items()
        self._refuse_faults()
        for name in ("options", "sweep", "mode", "parameters"):
            setattr(self.batch, name, getattr(old, name))

    def _add(self, number: int, item: BatchItem, fill: Callable[[], dict[str, Any]]) -> None:
        """Create the task of one item; `fill` returns its options."""
        if number % ITEMS_PER_SLICE == 0:
            time.sleep(YIELD_SECONDS)
        try:
            if self._table is not None and (fault := self._table.item_faults.get(number)):
                raise InvalidOptions.of("", fault)
            call = ActionCall.check(self._action, fill())
            task = new_task(self._services, self._caller, call, self._preferences, self._approval)
            if isinstance(self._action, Operation) and self._action.preview:
                first = first_step_of(self._services, self._caller.token, call)
                if number < PREVIEWED_ITEMS:
                    self.first_steps.append(first)
        except InvalidOptions as refusal:
            self._refuse_item(number, item, refusal)
            return
        self._first_masker = self._first_masker or call.masker
        self._secret_options |= call.secret_options
        task.batch, task.number = self.batch.id, number
        task.parameters = call.masker.json(item)
        self._bytes += len(task.encrypted_payload or b"")
        self._check_size(self._bytes)
        self.tasks.append(task)

    def _check_size(self, size: int) -> None:
        """Raise InvalidOptions if the options of all tasks are too long."""
        if size > MAX_OPTION_BYTES:
            message = (
                f"the options of all tasks together have more than {MAX_OPTION_BYTES >> 20} MiB: "
                "split the batch, or put long scripts into files on the cluster"
            )
            raise InvalidOptions.of("options", message)

    def _refuse_item(self, number: int, item: BatchItem, refusal: InvalidOptions) -> None:
        """Note what is wrong with an item."""
        faults = [
            {**each, "field": self._place(number, each["field"])}
            for each in refusal.details["faults"]
        ]
        if self._keep_going:
            self._refused.append((number, item, faults))
        limit = MAX_REPORTED_FAULTS if self._table is None else MAX_TABLE_FAULTS
        remaining = limit - len(self._faults)
        self._unreported_faults += len(faults[remaining:])
        self._faults += faults[:remaining]

    def _place(self, number: int, name: str) -> str:
        if self._table is not None:
            return self._table.place(number, name)
        return f"items.{number}.{name}"

    def _fail_refused_items(self, used: Collection[str] = ()) -> None:
        """Make a failed task of each invalid item, if the batch keeps going and has others.

        `used` are the parameters that templates name. An unknown one may be a misspelt secret, so
        its value is not recorded.
        """
        is_broken = self._table is not None and self._table.faults
        if not self._refused or not self.tasks or is_broken:
            return
        self._faults, self._unreported_faults = [], 0
        secret = secret_options(self._action.options)
        known = {*option_names(self._action.options), *used}
        for number, item, faults in self._refused:
            self._secret_options |= secret & item.keys()
            fault = InvalidOptions(faults)
            task = failed_task(self._caller, self._action, self._preferences, fault)
            task.batch, task.number = self.batch.id, number
            task.parameters = {
                name: value if name in known else MASK for name, value in item.items()
            }
            self.tasks.append(task)
        self.tasks.sort(key=lambda task: task.number or 0)

    def _refuse_faults(self) -> None:
        self.batch.size = len(self.tasks)
        self.batch.secret = bool(self._secret_options)
        if not self._faults:
            return
        fault = InvalidOptions(self._faults)
        fault.details["more_faults"] = self._unreported_faults
        if self._unreported_faults:
            fault.message += f"; and {self._unreported_faults} more faults"
        raise fault

    def _mask_parameters(self, names: Collection[str]) -> None:
        """Mask, for every item, the parameters that are a part of a secret."""
        if names:
            for task in self.tasks:
                task.parameters = {
                    name: MASK if name in names else value
                    for name, value in (task.parameters or {}).items()
                }

    def _masked(self, values: dict[str, Any], hidden: Collection[str]) -> dict[str, Any]:
        """Return values by name: the `hidden` ones as a mask, the others without any secret."""
        masker = self._first_masker or Masker()
        return {
            name: MASK if name in hidden else masker.json(value) for name, value in values.items()
        }
