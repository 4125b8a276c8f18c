"""List a whole folder of the cluster, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resop_client.cli.invocation import Invocation
from resop_client.cli.running import ask

PAGE = 5000
"""Entries per request: as many as the service returns."""


def entries(invocation: Invocation, folder: str) -> Iterator[Any]:
    """Yield the entries of a folder, hidden ones too. Raises PathFailed."""
    offset, total = 0, 1
    while offset < total:
        options = {"path": folder, "hidden": True, "offset": offset, "limit": PAGE}
        page = ask(invocation, "/utils/opn/list_folder", options)
        yield from page["entries"]
        offset, total = offset + PAGE, page["total"]
