"""`resop audit`: pages for people, NDJSON and CSV for programs."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.commands import run
from resop.storage.database import Database
from resop.storage.models import AuditEntry, RequestOutcome
from tests.support.audit import new_log

Told = Callable[..., str]


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Told]:
    """Run `resop audit WORDS` on a database with three entries; return what it prints."""
    database = Database(f"sqlite:///{tmp_path}/resop.db")
    database.create_tables()
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    log = new_log(database)
    for username in ("ada", "=1+1", "x\x1b[2J"):
        entry = AuditEntry(
            username=username,
            address="192.0.2.1",
            method="POST",
            path="/auth/opn/login",
            action="auth:login",
            options={"username": username, "password": "********"},
            outcome=RequestOutcome.REFUSED,
            status=401,
            error="LoginRefused",
        )
        log.add(entry)

    def printed(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["resop", "audit", *words])
        run()
        return capsys.readouterr().out

    yield printed
    database.close()


def test_list_goes_on_where_it_ended(told: Told) -> None:
    *newest, further = told("--limit", "2").splitlines()
    assert len(newest) == 2
    oldest, further = told(*further.removeprefix("older entries: ").split()).splitlines()
    options = '{"username": "ada", "password": "********"}'
    assert oldest.endswith(f"ada from 192.0.2.1 refused LoginRefused auth:login {options}")
    assert told(*further.removeprefix("older entries: ").split()) == ""


def test_list_does_not_move_the_cursor_of_who_reads_it(told: Told) -> None:
    shown = told("--since", "2000-01-01", "--until", "2999-01-01T00:00+01:00")
    assert "x\\x1b[2J from" in shown and "\x1b" not in shown


def test_export_has_every_field(told: Told) -> None:
    entries = [json.loads(line) for line in told("--format", "ndjson").splitlines()]
    assert [each["username"] for each in entries] == ["x\x1b[2J", "=1+1", "ada"]
    rows = list(csv.DictReader(io.StringIO(told("--format", "csv"))))
    assert list(rows[0]) == list(entries[0]) == [*AuditEntry.model_fields, "task_state"]
    assert json.loads(rows[2]["options"]) == entries[2]["options"]
    assert rows[1]["username"] == "'=1+1"  # which no spreadsheet calculates
    assert told("--format", "csv", "--user", "bob").count("\n") == 1


def test_time_that_is_none_is_told(told: Told) -> None:
    with pytest.raises(SystemExit, match="resop: --since: 'yesterday' is not a time"):
        told("--since", "yesterday")
