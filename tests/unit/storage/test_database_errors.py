"""Errors of the database are explained without the data that drivers and servers quote."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pymysql
import pytest
from sqlalchemy.exc import DBAPIError

from resop.errors import RecordRefused, RecordsUnavailable, ResopError, ServiceFault
from resop.storage import database
from resop.storage.database import repeated_on_conflict
from resop.storage.database_errors import meaning, statement_bytes

SECRET = "the output of ada"


def of_mariadb(number: int, text: str = f"near '{SECRET}'") -> DBAPIError:
    """Return the error that SQLAlchemy raises for one of the server, of the class PyMySQL uses."""
    kind = pymysql.err.error_map.get(number, pymysql.err.OperationalError)
    return DBAPIError.instance("UPDATE", {}, kind(number, text), pymysql.err.Error)  # type: ignore[return-value]


def of_sqlite(number: int) -> DBAPIError:
    fault = sqlite3.OperationalError(SECRET)
    fault.sqlite_errorcode = number
    return DBAPIError.instance("UPDATE", {}, fault, sqlite3.Error)  # type: ignore[return-value]


def test_database_that_can_do_nothing_now_is_unavailable_with_the_reason() -> None:
    for reason, errors in {
        "is read-only": [of_mariadb(each) for each in (1036, 1290, 1792, 1836)] + [of_sqlite(8)],
        "is locked": [of_mariadb(each) for each in (1205, 1213)] + [of_sqlite(5), of_sqlite(261)],
        "has no space left": [of_mariadb(1021), of_mariadb(1114), of_sqlite(13)],
        "has too many connections": [of_mariadb(each) for each in (1040, 1203, 1226)],
        "has ended the statement": [of_mariadb(1317), of_mariadb(1969)],
        "has closed the connection": [of_mariadb(each) for each in (2006, 2013, 4031)],
        "cannot be reached": [of_mariadb(2003)],
        "is a cluster node that is not ready": [of_mariadb(1047)],
        "does not let this service in": [of_mariadb(1045), of_mariadb(1142)],
        "its disk reports errors": [of_sqlite(10), of_sqlite(10 | 6 << 8)],
        "binlog_format = 'MIXED'": [of_mariadb(1665)],
        "reports error 1815": [of_mariadb(1815)],
    }.items():
        for error in errors:
            fault = meaning(error)
            assert type(fault) is RecordsUnavailable and reason in fault.message, error
            assert SECRET not in fault.message


def test_values_that_cannot_be_stored_are_refused_with_the_reason() -> None:
    redo_log = "The size of BLOB/TEXT data inserted in one transaction is greater than 10% of redo"
    for reason, error in {
        "max_allowed_packet": of_mariadb(1153),
        "redo log": of_mariadb(1118, redo_log),
        "(note): a text is too long": of_mariadb(1406, "Data too long for column 'note' at row 1"),
        "(stderr): it contains characters": of_mariadb(
            1366, f"Incorrect string value: '{SECRET}' for column `db`.`task`.`stderr` at row 1"
        ),
        "out of range": of_mariadb(1264),
        "it is too large": of_sqlite(18),
    }.items():
        fault = meaning(error)
        assert isinstance(fault, RecordRefused) and reason in fault.message, reason
        assert SECRET not in fault.message and not fault.retryable


def test_mistake_in_a_statement_is_a_fault_of_the_service() -> None:
    fault = meaning(of_mariadb(1064))
    assert isinstance(fault, ServiceFault) and "1064" in fault.message
    assert SECRET not in fault.message


def test_only_transactions_that_lost_against_another_one_are_repeated() -> None:
    for number, conflict in {1213: True, 1205: True, 2013: False, 1290: False, 1114: False}.items():
        fault = meaning(of_mariadb(number))
        assert isinstance(fault, RecordsUnavailable) and fault.conflict is conflict, number


def test_values_are_suspected_only_where_the_reason_is_unknown() -> None:
    for number, suspect in {
        **dict.fromkeys((2006, 2013, 1815), True),
        **dict.fromkeys((1205, 1213, 1290, 1114, 1040, 2003), False),
    }.items():
        fault = meaning(of_mariadb(number))
        assert isinstance(fault, RecordsUnavailable) and fault.suspect is suspect, number


def test_size_of_a_statement_counts_what_is_escaped_and_the_largest_row() -> None:
    assert statement_bytes("x" * 10, ("a" * 100, None, 5)) >= 110
    assert statement_bytes("", {"a": "'" * 100, "b": b"\0" * 50}) >= 300
    assert statement_bytes("", ("日" * 100,)) >= 300
    assert statement_bytes("", [("a" * 500,), ("b" * 300,)]) < 600


@pytest.mark.parametrize("conflicts", [0, 1, 4, 5])
def test_transaction_is_repeated_a_few_times(
    conflicts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_CONFLICT_PAUSE", 0.0)
    remaining = iter(range(conflicts))
    transaction: Callable[[str], str] = repeated_on_conflict(_losing(remaining))
    if conflicts < database.CONFLICT_ATTEMPTS:
        assert transaction("kept") == "kept"
    else:
        with pytest.raises(RecordsUnavailable):
            transaction("kept")


def test_other_faults_are_not_repeated() -> None:
    calls = []

    @repeated_on_conflict
    def transaction(fault: ResopError) -> None:
        calls.append(fault)
        raise fault

    for fault in (RecordsUnavailable(), RecordRefused()):
        with pytest.raises(type(fault)):
            transaction(fault)
    assert len(calls) == 2


def _losing(remaining: object) -> Callable[[str], str]:
    def transaction(result: str) -> str:
        if next(remaining, None) is not None:  # type: ignore[call-overload]
            raise meaning(of_mariadb(1213))
        return result

    return transaction
