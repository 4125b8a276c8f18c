"""Logging: one line for each request and each task, plain or JSON, nothing secret in it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from resop.config.settings import Settings

FACTS = "facts"
QUIET = ("asyncssh", "paramiko", "kombu", "celery", "uvicorn.access", "amqp")


def log_event(logger: logging.Logger, event: str, **facts: object) -> None:
    """Write one line: an event and its facts (request, task, user, action, seconds, …)."""
    logger.info(event, extra={FACTS: {name: fact for name, fact in facts.items() if fact != ""}})


class PlainFormatter(logging.Formatter):
    """`2026-11-24T10:00:00.123Z INFO api request method=GET path=/ …`"""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows where there is one."""
        facts = getattr(record, FACTS, {})
        shown = "".join(f" {name}={_word(fact)}" for name, fact in facts.items())
        place = record.name.split(".")[0]
        line = f"{_time(record)} {record.levelname} {place} {record.getMessage()}{shown}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, place, event, and the facts beside them."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, FACTS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up_logging(settings: Settings) -> None:
    """Send this process's log to standard error in the form that the settings say."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.LOG_FORMAT == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.LOG_LEVEL)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(fact: object) -> str:
    text = f"{fact:.3f}" if isinstance(fact, float) else str(fact)
    # One line stays one line, whatever a client put into a path or a name.
    return text if text.isprintable() and " " not in text else json.dumps(text)
