"""Tasks and batches as requests make them, for tests of the record."""

from typing import Any

from resop.storage.models import Batch, Task
from tests.support.ids import next_id

_ASKED = {
    "kind": "command",
    "operator": "utils",
    "action": "echo",
    "username": "ada",
    "cluster": "tango",
}


def new_task(**values: Any) -> Task:
    """A queued task of ada's, later than all before it; with these values in place of its own."""
    wanted: dict[str, Any] = {
        **_ASKED,
        "id": next_id(),
        "credential": "credential-1",
        "options": {"input": ["x"]},
        "encrypted_payload": b"\x00sealed",
        "time_limit": 60.0,
    }
    return Task(**wanted | values)


def new_batch(**values: Any) -> Batch:
    """A batch of ada's, later than all before it, without its tasks."""
    wanted: dict[str, Any] = {
        **_ASKED,
        "id": next_id(),
        "options": {"input": ["{{n}}"]},
        "parameters": ["n"],
        "size": 0,
    }
    return Batch(**wanted | values)
