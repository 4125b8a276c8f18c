"""The version of this client, and the versions of the service that it works with."""

from __future__ import annotations

import re

from resop_client.errors import VersionMismatch

__version__ = "0.1.0"
OLDEST_SERVICE = (0, 1)
FIRST_UNKNOWN_SERVICE = (1, 0)
"""The first version of the service whose API may be another one."""


def check_service_version(version: str, url: str) -> None:
    """Raise VersionMismatch for a service that is too old or too new for this client."""
    found = re.match(r"(\d+)\.(\d+)", version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    if number < OLDEST_SERVICE:
        oldest = ".".join(map(str, OLDEST_SERVICE))
        raise VersionMismatch(
            f"the service at {url} is version {version}, and this client ({__version__}) needs "
            f"{oldest} or newer: install an older resop-client, or ask for a newer service"
        )
    if number >= FIRST_UNKNOWN_SERVICE:
        raise VersionMismatch(
            f"the service at {url} is version {version}, which this client ({__version__}) does "
            "not know: pip install --upgrade resop-client"
        )
