"""Tasks and batches as requests create them, for tests of the database."""

from typing import Any

from resop.storage.models import Batch, Task
from tests.support.ids import next_id

_DEFAULTS = {
    "kind": "command",
    "operator": "utils",
    "action": "echo",
    "username": "ada",
    "cluster": "tango",
}


def new_task(**values: Any) -> Task:
    """Create a queued task of ada, later than all before it; `values` replace its defaults."""
    defaults: dict[str, Any] = {
        **_DEFAULTS,
        "id": next_id(),
        "credential": "credential-1",
        "options": {"input": ["x"]},
        "encrypted_payload": b"\x00sealed",
        "time_limit": 60.0,
    }
    return Task(**defaults | values)


def new_batch(**values: Any) -> Batch:
    """Create a batch of ada, later than all before it, without its tasks."""
    defaults: dict[str, Any] = {
        **_DEFAULTS,
        "id": next_id(),
        "options": {"input": ["{{n}}"]},
        "parameters": ["n"],
        "size": 0,
    }
    return Batch(**defaults | values)
