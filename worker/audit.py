"""The audit entries of a worker: tasks that it refused, because their user may not run them."""

from __future__ import annotations

from resop.config.settings import Settings
from resop.security.encryption import Encryptor
from resop.storage.audit_log import AuditLog
from resop.storage.audit_recorder import AuditRecorder
from resop.storage.audit_stream import streamed_chain
from resop.storage.database import Database
from resop.storage.models import AuditEntry, ClaimedTask, RequestOutcome

METHOD = "TASK"
"""The method of such entries, where others have an HTTP method."""


def make_recorder(settings: Settings, database: Database) -> AuditRecorder:
    """Return what writes this worker's entries."""
    key = Encryptor(settings.secret_key()).audit_key
    chain, streams = streamed_chain(key, "worker", settings.AUDIT_FILE, settings.AUDIT_SYSLOG)
    return AuditRecorder(AuditLog(database, chain), streams)


def refusal_entry(task: ClaimedTask, worker: str, error: str) -> AuditEntry:
    """Return the entry of a task that the worker refused with an error of this type."""
    return AuditEntry(
        username=task.username,
        cluster=task.cluster,
        address=worker,
        method=METHOD,
        path=f"/tasks/{task.id}",
        action=f"{task.operator}:{task.action}",
        outcome=RequestOutcome.REFUSED,
        status=403,
        error=error,
        task=task.id,
        request=task.request,
    )
