"""Log one line for each request and each task, plain or as JSON, without secrets."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from resop.config.settings import Settings

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
        place = record.name.split(".")[0]
        line = f"{_time(record)} {record.levelname} {place} {record.getMessage()}{text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """Formats each line as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger and event, and the facts beside them."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, _FACTS_ATTRIBUTE, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up_logging(settings: Settings) -> None:
    """Log to standard error, as LOG_LEVEL and LOG_FORMAT say."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if settings.LOG_FORMAT == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.LOG_LEVEL)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fact_text(fact: object) -> str:
    text = f"{fact:.3f}" if isinstance(fact, float) else str(fact)
    # Quoted, so that no path or name from a client breaks the line.
    return text if text.isprintable() and " " not in text else json.dumps(text)
