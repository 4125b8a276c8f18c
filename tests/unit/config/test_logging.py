"""No text from outside forges a line of the log, wherever it is, in either format."""

import json
import logging
import random
import sys
from collections.abc import Callable, Iterator

import pytest

from resop.config.logging import JsonFormatter, PlainFormatter, log_event
from tests.support.hostile_text import FORGED_LINE, hostile_text

SEEDS = range(300)


def record(text: str, *, fault: bool = False, **facts: object) -> logging.LogRecord:
    """Return the record of a message, its argument, its logger and its facts with that text."""
    exc_info = None
    if fault:
        try:
            raise ValueError(text) from KeyError(text)
        except ValueError:
            exc_info = sys.exc_info()
    made = logging.LogRecord(
        f"api.{text}", logging.INFO, __file__, 1, f"{text.replace('%', '%%')} %s", (text,), exc_info
    )
    made.facts = facts
    return made


def for_every_text(test: Callable[[str], None]) -> Callable[[], None]:
    """Run a test with every text: as tests of their own they would take many times as long."""

    def run() -> None:
        for seed in SEEDS:
            test(hostile_text(random.Random(seed)))

    return run


@for_every_text
def test_plain_entry_is_one_line_of_printable_ascii(text: str) -> None:
    shown = PlainFormatter().format(record(text, user=text, path=text, seconds=0.5))
    assert shown.isascii() and shown.isprintable()
    assert shown.splitlines() == [shown]


@for_every_text
def test_lines_of_a_traceback_cannot_pass_for_entries(text: str) -> None:
    first, *further = PlainFormatter().format(record(text, fault=True)).splitlines()
    assert first.isprintable() and first.isascii()
    for line in further:
        assert line.startswith((" ", "Traceback (most recent call last):"))
        assert line.isascii() and line.isprintable()


@for_every_text
def test_facts_of_a_plain_entry_are_told_apart(text: str) -> None:
    shown = PlainFormatter().format(record("x", user=text, task="t1"))
    facts = dict(_facts(shown.split(" x x ", 1)[1]))
    assert facts == {"user": text, "task": "t1"}


def _facts(shown: str) -> Iterator[tuple[str, str]]:
    """Read facts as a reader of the log does: JSON where a value begins with a quote."""
    while shown:
        name, _, shown = shown.partition("=")
        if shown.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(shown)
        else:
            value, _, _ = shown.partition(" ")
            end = len(value)
        yield name, value
        shown = shown[end:].removeprefix(" ")


@for_every_text
def test_json_entry_is_one_line_with_the_text_in_its_fields(text: str) -> None:
    shown = JsonFormatter().format(record(text, fault=True, user=text))
    assert shown.isascii() and shown.splitlines() == [shown]
    entry = json.loads(shown)
    assert entry["event"] == f"{text} {text}" and entry["level"] == "INFO"
    assert entry["user"] == text


def test_long_facts_are_truncated(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log_event(logging.getLogger("api"), "request", path="/" * 60_000, user="alice")
    [logged] = caplog.records
    assert len(PlainFormatter().format(logged)) < 500
    assert len(JsonFormatter().format(logged)) < 500
    assert "user=alice" in PlainFormatter().format(logged)


def test_forged_line_stays_inside_the_line_that_reports_it() -> None:
    shown = PlainFormatter().format(
        record(f"x\n{FORGED_LINE}", fault=True, user=f"y\n{FORGED_LINE}")
    )
    assert not any(line.startswith(FORGED_LINE) for line in shown.splitlines())
