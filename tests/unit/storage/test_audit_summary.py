"""Equal requests share entries, and requests without a token cannot fill the audit log."""

import math
from collections.abc import Iterator

from resop.storage.audit_summary import (
    ALL_STRANGERS_ENTRIES,
    READS_OF_A_PERSON,
    STRANGER_ADDRESSES,
    STRANGER_ENTRIES,
    VARIOUS,
    WINDOW_SECONDS,
    EntrySummary,
)
from resop.storage.models import AuditEntry, RequestOutcome
from tests.support.audit import audit_entry


def read(summary: EntrySummary, path: str, moment: float, user: str = "ada") -> None:
    def make() -> AuditEntry:
        return audit_entry(method="GET", path=path, username=user, outcome=RequestOutcome.DONE)

    summary.count((user, path), user, moment, make)


def refused(
    summary: EntrySummary, address: str, moment: float = 0.0, username: str = ""
) -> Iterator[AuditEntry]:
    """Yield the entry of a stranger's request if it gets one of its own."""
    entry = audit_entry(
        address=address,
        path="/x" * 200,
        username=username,
        options={"password": "********"},
        outcome=RequestOutcome.REFUSED,
        error="LoginRefused" if username else "NotLoggedIn",
    )
    if summary.admits(address, moment, lambda: entry):
        yield entry


def test_first_read_is_due_at_once_and_its_repetitions_after_a_minute() -> None:
    summary = EntrySummary()
    for second in range(30):
        read(summary, "/files/a", second)
    [first] = summary.due(30)
    assert (first.path, first.count) == ("/files/a", None)
    assert summary.due(WINDOW_SECONDS - 1) == []
    [further] = summary.due(WINDOW_SECONDS)
    assert (further.path, further.count, further.username) == ("/files/a", 29, "ada")
    assert further.id > first.id and further.at >= first.at
    assert summary.due(10 * WINDOW_SECONDS) == []


def test_single_read_has_one_entry() -> None:
    summary = EntrySummary()
    read(summary, "/files/a", 0)
    assert [each.count for each in summary.due(math.inf)] == [None]


def test_different_files_have_entries_of_their_own() -> None:
    summary = EntrySummary()
    for number in range(100):
        read(summary, f"/files/{number}", 0)
    assert {each.path for each in summary.due(0)} == {f"/files/{n}" for n in range(100)}


def test_reads_of_a_person_beyond_a_limit_are_one_entry() -> None:
    summary = EntrySummary()
    for number in range(READS_OF_A_PERSON + 100):
        read(summary, f"/files/{number}", 0)
    read(summary, "/files/0", 0, user="bob")
    entries = summary.due(math.inf)
    assert len(entries) == READS_OF_A_PERSON + 2
    [rest] = [each for each in entries if each.path == VARIOUS]
    assert (rest.count, rest.username) == (100, "ada")


def test_requests_without_a_token_are_counted_per_address() -> None:
    summary = EntrySummary()
    own = [entry for _ in range(200) for entry in refused(summary, "192.0.2.1")]
    other = [entry for _ in range(3) for entry in refused(summary, "192.0.2.2")]
    assert (len(own), len(other)) == (STRANGER_ENTRIES, 3)
    [counted] = summary.due(math.inf)
    assert (counted.address, counted.count) == ("192.0.2.1", 200 - STRANGER_ENTRIES)
    assert counted.options == {"errors": {"NotLoggedIn": 180}, "users": []}
    assert (counted.path, counted.outcome) == (VARIOUS, "refused")


def test_tried_names_are_listed_up_to_a_limit() -> None:
    summary = EntrySummary()
    for number in range(500):
        list(refused(summary, "192.0.2.1", username=f"user{number}"))
    [counted] = summary.due(math.inf)
    assert counted.options["errors"] == {"LoginRefused": 480}
    assert len(counted.options["users"]) == 20 and counted.username == ""


def test_many_addresses_cannot_fill_the_log_either() -> None:
    summary = EntrySummary()
    own = [
        entry
        for number in range(5000)
        for entry in refused(summary, f"10.0.{number // 250}.{number % 250}")
    ]
    assert len(own) == ALL_STRANGERS_ENTRIES
    counted = summary.due(math.inf)
    assert len(counted) == STRANGER_ADDRESSES + 1
    assert sum(each.count or 0 for each in counted) == 5000 - ALL_STRANGERS_ENTRIES


def test_a_new_minute_has_new_entries() -> None:
    summary = EntrySummary()
    for minute in range(3):
        moment = minute * (WINDOW_SECONDS + 1)
        own = [entry for _ in range(50) for entry in refused(summary, "192.0.2.1", moment)]
        assert len(own) == STRANGER_ENTRIES
