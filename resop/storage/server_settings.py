"""Check the settings of a MariaDB server that a session cannot change for itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from sqlalchemy import Connection, text

log = logging.getLogger(__name__)

MIN_PACKET_BYTES = 32 << 20
"""The longest answer of an operation, escaped, fits into a packet of this size."""


def check_server(db: Connection) -> None:
    """Raise LookupError for a server that would refuse every write, and log its weaknesses."""
    if db.dialect.name == "sqlite":
        return
    log_bin, binlog_format = db.execute(text("SELECT @@log_bin, @@binlog_format")).one()
    if log_bin and binlog_format == "STATEMENT":
        raise LookupError(
            "its server has binlog_format=STATEMENT, with which it refuses transactions that are "
            "READ COMMITTED: run SET GLOBAL binlog_format = 'MIXED', and set it in its "
            "configuration"
        )
    for sentence in weaknesses(db):
        log.warning("DATABASE_URL: %s", sentence)


def weaknesses(db: Connection) -> Iterator[str]:
    """Yield a sentence for each setting with which some results cannot be recorded."""
    packet_bytes = db.execute(text("SELECT @@max_allowed_packet")).scalar_one()
    if packet_bytes < MIN_PACKET_BYTES:
        yield (
            f"the server's max_allowed_packet is {packet_bytes} bytes: tasks with larger results "
            "fail; run SET GLOBAL max_allowed_packet = 67108864, and set it in its configuration"
        )
