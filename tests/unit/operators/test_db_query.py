"""A query is one statement, whatever the client would make of its text."""

from __future__ import annotations

import pytest

from operators.db.operations.query import query
from resop.actions.options import check_options
from resop.errors import InvalidOptions

SEVERAL = [
    "SELECT 1; SELECT 2",
    "SELECT 1;;",
    "SELECT 1) SELECT 1; SELECT pg_sleep(1); WITH resop AS (SELECT 2 AS x",
    "SELECT ';' ; SELECT 2",
    "SELECT 'a'';' ; SELECT 2",
    "SELECT E'\\';SELECT 2 --'",
    "SELECT '\\'; SELECT 2 -- '",
    "SELECT \"'\"; SELECT 2 -- '",
    "SELECT `'`; SELECT 2 -- '",
    "SELECT 1 -- '\n; SELECT 2 -- '",
    "SELECT 1 # '\n; SELECT 2 # '",
    "SELECT 1 /* ' */ ; SELECT 2 /* ' */",
    "SELECT $x$'$x$; SELECT 2; SELECT $x$'$x$",
    "SELECT $$'$$; SELECT 2; SELECT $$'$$",
    "SELECT $é$'$é$; SELECT 2; SELECT $é$'$é$",
]


@pytest.mark.parametrize("sql", SEVERAL)
def test_several_statements_are_refused_before_anything_is_sent(sql: str) -> None:
    with pytest.raises(InvalidOptions, match="sql: must be one statement"):
        check_options(query.options, {"sql": sql})


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1;",
        "SELECT ';' AS x, 'it''s; so' WHERE a = $1 ; ",
        'SELECT "a", $$b$$ -- one only',
        "WITH a AS (SELECT 1) SELECT * FROM a",
    ],
)
def test_one_statement_is_taken(sql: str) -> None:
    check_options(query.options, {"sql": sql})
