"""Query the portal's database with SQL; values are bound, never inserted into the text."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from operators.db.portal import open_portal
from operators.db.statement import Statement
from resop import Argument, ErrorMessage, Shell, operation

QueryValue = Argument | int | float | bool | None


class QueryResult(TypedDict):
    """Rows as objects, by column name; `complete` if there are no more."""

    rows: list[dict[str, Any]]
    complete: bool


_DOLLAR_QUOTE = re.compile(r"\$[^0-9\s]")
_LITERAL = re.compile("'[^']*'")
_OTHER_QUOTING = ("\\", "--", "/*", "#", "$$", "`", '"')
"""Signs of comments, names and other literals, in which a quote may mean something else."""


def _check_one_statement(sql: str) -> str:
    """Raise ValueError if a semicolon may separate two statements: the client would send both."""
    rest = sql.strip().removesuffix(";")
    if not any(sign in rest for sign in _OTHER_QUOTING) and not _DOLLAR_QUOTE.search(rest):
        rest = _LITERAL.sub("", rest)
    if ";" in rest:
        raise ValueError(
            "must be one statement; a text with ';' in it can be sent among the values"
        )
    return sql


@operation(
    dry_run=True,
    examples=[
        {"sql": "SELECT count(*) AS users FROM users"},
        {"sql": "SELECT * FROM sessions WHERE slurm_job_id = $1", "values": [4242]},
    ],
)
def query(
    shell: Shell,
    sql: Annotated[
        Argument,
        Field(pattern=r"^\s*(?i:select|with|values)\b"),
        ErrorMessage("must be a query: SELECT, WITH or VALUES, at most 131,071 bytes"),
        AfterValidator(_check_one_statement),
        Field(description="a SELECT, with $1, $2 (PostgreSQL) or ?, ? (MariaDB) for values"),
    ],
    values: Annotated[
        list[QueryValue] | None, Field(description="values of the placeholders, in order")
    ] = None,
    limit: Annotated[int, Field(ge=1, le=100_000, description="maximum number of rows")] = 1000,
) -> QueryResult:
    """Return the rows; numbers, booleans and null keep their types.

    The transaction is read-only. Times are ISO 8601, with a zone if the column has one. If two
    columns have the same name, the last one counts. A dry run has the server check the query, and
    returns no rows: a function that the query calls could change something.
    """
    statement = Statement(sql.strip().removesuffix(";"), values or [])
    database, summary = open_portal(shell), "query the portal"
    if shell.dry_run:
        database.plan(summary, statement, limit + 1)
        return QueryResult(rows=[], complete=False)
    rows = database.read(summary, statement, limit + 1)
    return QueryResult(rows=rows[:limit], complete=len(rows) <= limit)
