"""Passes committed audit entries on, as lines of JSON in a file or as messages to a syslog server.

A thread takes the entries in the order of their chain, so no request waits for a full disk or a
slow server. What cannot be delivered is counted; the receiver notices it as well, because the
numbers of the chain have a gap.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Sequence
from logging.handlers import SysLogHandler
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from resop.storage.audit_chain import AuditChain, ChainKey, Values
from resop.storage.audit_export import entry_json, entry_line
from resop.storage.models import AuditEntry, RequestOutcome
from resop.storage.serializers import iso_time

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
"""Entries that wait for a slow receiver; further ones are lost to it."""
RETRY_SECONDS = 1.0
SYSLOG_TIMEOUT_SECONDS = 5.0
STOP_SECONDS = 10.0
MAX_SYSLOG_BYTES = 8000
"""Longer messages are shortened: common servers accept no more than 8 KiB."""
REPORT_SECONDS = 60.0


class Receiver(Protocol):
    """Where entries go to."""

    def send(self, entry: AuditEntry) -> None:
        """Send an entry. Raises OSError; then it was not sent, or not as a whole."""

    def close(self) -> None:
        """Close what is open."""


class AuditStream:
    """One thread that sends the entries of a process to one receiver."""

    def __init__(self, name: str, receiver: Receiver) -> None:
        self.lost = 0
        """Entries that the receiver did not get."""
        self._name = name
        self._receiver = receiver
        self._waiting: queue.Queue[Values | None] = queue.Queue()
        self._stop_at: float | None = None
        self._reported_at = -REPORT_SECONDS
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, for a few seconds at most, then close the receiver."""
        self._stop_at = time.monotonic() + STOP_SECONDS
        self._waiting.put(None)
        self._thread.join(STOP_SECONDS + SYSLOG_TIMEOUT_SECONDS)

    def put(self, entries: Sequence[Values]) -> None:
        """Queue entries; returns at once."""
        for entry in entries:
            if self._waiting.qsize() >= MAX_WAITING:
                self.lost += 1
            else:
                self._waiting.put(entry)

    def _run(self) -> None:
        while (values := self._waiting.get()) is not None:
            entry = AuditEntry(**values)
            while not self._sent(entry):
                if self._stop_at is not None and time.monotonic() >= self._stop_at:
                    self.lost += 1 + self._waiting.qsize()
                    break
                time.sleep(RETRY_SECONDS)
            else:
                continue
            break
        with contextlib.suppress(OSError):
            self._receiver.close()

    def _sent(self, entry: AuditEntry) -> bool:
        try:
            self._receiver.send(entry)
        except OSError as fault:
            if time.monotonic() - self._reported_at >= REPORT_SECONDS:
                self._reported_at = time.monotonic()
                log.error("%s: audit entries wait, %d are lost: %s", self._name, self.lost, fault)
            return False
        return True


class AuditFile:
    """Lines of JSON in a file that only its owner can read.

    Several processes may append to it. It is opened again when it was renamed or deleted, so
    logrotate needs to send no signal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._torn = False
        """True after a line of which only a part was written."""

    def send(self, entry: AuditEntry) -> None:
        """Append a line. Raises OSError."""
        line = entry_line(entry)
        descriptor = self._open()
        data = b"\n" + line if self._torn else line
        # One call, so that lines of several processes do not mix.
        written = os.write(descriptor, data)
        self._torn = written != len(data)
        if self._torn:
            raise OSError(f"{self._path}: only a part of an entry could be written")

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is not None and not self._is_current(self._descriptor):
            self.close()
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
            self._torn = False
        return self._descriptor

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(descriptor))
        except FileNotFoundError:
            return False


class AuditSyslog:
    """Messages of RFC 5424 to a syslog server; over TCP, a line feed ends each (RFC 6587)."""

    def __init__(self, address: str) -> None:
        """`address` is `udp://host:port`, `tcp://host:port` or `unix:///path`."""
        self._address = address
        self._handler: _Handler | None = None
        self._host = socket.gethostname() or "-"

    def send(self, entry: AuditEntry) -> None:
        """Send a message. Raises OSError; the next call connects again."""
        try:
            if self._handler is None:
                self._handler = _Handler(self._address)
            record = logging.LogRecord("audit", _level(entry), "", 0, self._text(entry), (), None)
            self._handler.emit(record)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._handler is not None:
            self._handler.close()
            self._handler = None

    def _text(self, entry: AuditEntry) -> str:
        """Return the message after its priority: version, time, host, program, process, kind."""
        content = entry_json(entry)
        text = json.dumps(content)
        if len(text) > MAX_SYSLOG_BYTES:
            # The digest stays that of the whole entry.
            text = json.dumps(content | {"options": None, "items": None, "shortened": True})
        return f"1 {iso_time(entry.at)} {self._host} resop {os.getpid()} audit - {text}"


class _Handler(SysLogHandler):
    """Python's handler, which raises OSError instead of printing a traceback."""

    append_nul = False

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._framed = parts.scheme == "tcp"
        place: Any = parts.path if parts.scheme == "unix" else (parts.hostname, parts.port)
        kind = socket.SOCK_STREAM if self._framed else socket.SOCK_DGRAM
        super().__init__(
            place,
            facility=SysLogHandler.LOG_AUTHPRIV,
            socktype=None if parts.scheme == "unix" else kind,
        )
        connection: socket.socket = self.socket  # type: ignore[attr-defined]
        connection.settimeout(SYSLOG_TIMEOUT_SECONDS)

    def format(self, record: logging.LogRecord) -> str:
        """Return the message; nothing in it is a format."""
        return f"{record.msg}\n" if self._framed else str(record.msg)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Raise the exception that is being handled."""
        raise


def _level(entry: AuditEntry) -> int:
    return logging.WARNING if entry.outcome == RequestOutcome.REFUSED else logging.INFO


def streamed_chain(
    key: bytes, program: str, file: Path | None = None, syslog: str | None = None
) -> tuple[AuditChain, list[AuditStream]]:
    """Return the chain of a process, and the streams that get its committed entries.

    `file` and `syslog` are the settings AUDIT_FILE and AUDIT_SYSLOG.
    """
    streams = []
    if file is not None:
        streams.append(AuditStream("AUDIT_FILE", AuditFile(file)))
    if syslog is not None:
        streams.append(AuditStream("AUDIT_SYSLOG", AuditSyslog(syslog)))

    def pass_on(entries: Sequence[Values]) -> None:
        for stream in streams:
            stream.put(entries)

    return AuditChain(ChainKey(key), program, pass_on), streams
