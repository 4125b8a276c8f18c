"""`resop health worker`: tell whether a worker of this machine is alive, for health checks."""

from __future__ import annotations

import contextlib
import socket
from datetime import timedelta

from resop.config.settings import Settings
from resop.errors import SetupError
from resop.storage.database import Database
from resop.storage.models import now
from resop.storage.workers import DEAD_SECONDS, WorkerStore


def check_worker(settings: Settings) -> None:
    """Print the workers of this machine that are alive. Raises SetupError if there is none.

    The database is asked, which every worker tells every ten seconds that it is alive.
    """
    with contextlib.closing(Database(settings.database_url)) as database:
        alive = WorkerStore(database).alive(now() - timedelta(seconds=DEAD_SECONDS))
    host = socket.gethostname()
    here = [worker for worker in alive if worker.rpartition("-")[0] == host]
    if not here:
        raise SetupError(f"no worker of {host} has given a sign of life for {DEAD_SECONDS} s")
    print(f"alive: {', '.join(here)}")
