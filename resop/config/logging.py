"""Log one line for each request and each task, plain or as JSON, without secrets.

Whatever a text from outside contains, it stays on its line: all output is printable ASCII, other
characters are escaped, and the further lines of a traceback begin with a space.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

from resop.config.settings import Settings
from resop.plain_text import one_line, shorten

MAX_FACT_CHARACTERS = 256
MAX_LINE_CHARACTERS = 32_768
"""The longest message, and the longest line of a traceback."""
_TRACEBACK = "Traceback (most recent call last):"
_FACTS_ATTRIBUTE = "facts"
_QUIET_LOGGERS = ("asyncssh", "paramiko", "kombu", "celery", "uvicorn.access", "amqp")


def log_event(logger: logging.Logger, event: str, **facts: object) -> None:
    """Log an event with its facts: request, task, user, action, seconds, …"""
    logger.info(
        event, extra={_FACTS_ATTRIBUTE: {name: fact for name, fact in facts.items() if fact != ""}}
    )


class PlainFormatter(logging.Formatter):
    """Formats lines like `2026-11-24T10:00:00.123Z INFO api request method=GET path=/ …`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, followed by the traceback if there is one."""
        facts = getattr(record, _FACTS_ATTRIBUTE, {})
        text = "".join(f" {name}={_fact_text(fact)}" for name, fact in facts.items())
        place = one_line(record.name.split(".")[0])
        message = one_line(shorten(record.getMessage(), MAX_LINE_CHARACTERS))
        line = f"{_time(record)} {record.levelname} {place} {message}{text}"
        if not record.exc_info:
            return line
        traceback = self.formatException(record.exc_info).split("\n")
        # Its usual first line begins no entry, and is what people search for.
        indented = [each if each == _TRACEBACK else f" {each}" for each in traceback[:1]]
        indented += [f" {each}" for each in traceback[1:]]
        return "\n".join(
            [line, *(one_line(shorten(each, MAX_LINE_CHARACTERS)) for each in indented)]
        )


class JsonFormatter(logging.Formatter):
    """Formats each line as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger and event, and the facts beside them."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "event": shorten(record.getMessage(), MAX_LINE_CHARACTERS),
            **{
                name: shorten(fact, MAX_FACT_CHARACTERS) if isinstance(fact, str) else fact
                for name, fact in getattr(record, _FACTS_ATTRIBUTE, {}).items()
            },
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # As ASCII: JSON leaves bidirectional controls and the line separators of Unicode alone.
        return json.dumps(line, default=str)


def set_up_logging(settings: Settings) -> None:
    """Log to standard error, as LOG_LEVEL and LOG_FORMAT say."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.LOG_FORMAT == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.LOG_LEVEL)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def log_uncaught_faults() -> None:
    """Log what Python itself would print: warnings, and exceptions that end a thread or a process.

    Their texts may come from outside as well.
    """
    log = logging.getLogger("resop")

    def log_fault(
        kind: type[BaseException], fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        fault = fault or kind()
        log.critical("an uncaught fault of the service", exc_info=(kind, fault, trace))

    sys.excepthook = log_fault
    threading.excepthook = lambda raised: log_fault(
        raised.exc_type, raised.exc_value, raised.exc_traceback
    )
    sys.unraisablehook = lambda raised: log_fault(
        raised.exc_type, raised.exc_value, raised.exc_traceback
    )
    logging.captureWarnings(True)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fact_text(fact: object) -> str:
    text = f"{fact:.3f}" if isinstance(fact, float) else shorten(str(fact), MAX_FACT_CHARACTERS)
    # Quoted, so that no path or name from a client looks like a further fact.
    plain = text.isascii() and text.isprintable() and not set(' "\\').intersection(text)
    return text if plain else json.dumps(text)
