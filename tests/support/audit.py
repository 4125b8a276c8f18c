"""Audit entries, chains and what a thief of the database does to them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from resop.storage.audit_chain import AuditChain, ChainKey
from resop.storage.audit_log import AuditLog
from resop.storage.audit_verify import verify_database
from resop.storage.database import Database
from resop.storage.models import AuditEntry, RequestOutcome

KEY = ChainKey(b"k" * 32)
OTHER_KEY = ChainKey(b"o" * 32)


def audit_entry(**values: Any) -> AuditEntry:
    wanted = {"address": "192.0.2.1", "method": "POST", "path": "/", "status": 202}
    return AuditEntry(**{**wanted, "outcome": RequestOutcome.ACCEPTED, **values})


def new_log(database: Database, program: str = "api", key: ChainKey = KEY) -> AuditLog:
    """Return a log with a chain of its own."""
    return AuditLog(database, AuditChain(key, program))


def faults(database: Database, keys: Sequence[ChainKey] = (KEY,)) -> list[str]:
    """Return what a verification of the database finds."""
    return verify_database(database, keys).verdict.faults


def tamper(database: Database, statement: str, **values: Any) -> int:
    """Run a statement as somebody who may write to the database; return the changed rows."""
    with database.write() as db:
        return db.execute(text(statement), values).rowcount
