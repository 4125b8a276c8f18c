"""Ask the portal's database with SQL that reads; its values are bound, never pasted."""

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from operators.db.portal import portal
from operators.db.statement import Statement
from resop import Argument, Shell, operation

Bindable = Argument | int | float | bool | None


class Answer(TypedDict):
    """Rows as objects by the names of their columns, and whether there are no more."""

    rows: list[dict[str, Any]]
    complete: bool


@operation(
    examples=[
        {"sql": "SELECT count(*) AS users FROM users"},
        {"sql": "SELECT * FROM sessions WHERE slurm_job_id = $1", "values": [4242]},
    ]
)
def query(
    shell: Shell,
    sql: Annotated[
        Argument,
        Field(
            pattern=r"^\s*(?i:select|with|values)\b",
            description="one SELECT, with $1, $2 (PostgreSQL) or ?, ? (MariaDB) for its values",
        ),
    ],
    values: Annotated[list[Bindable] | None, Field(description="the values, in order")] = None,
    limit: Annotated[int, Field(ge=1, le=100_000, description="how many rows at most")] = 1000,
) -> Answer:
    """Return the rows; numbers, true, false and null stay what they are.

    The transaction is read-only. Times are ISO 8601, with a zone where the column has one. Of two
    columns with the same name the last counts.
    """
    statement = Statement(sql.strip().removesuffix(";"), values or [])
    rows = portal(shell).read("ask the portal", statement, limit + 1)
    return Answer(rows=rows[:limit], complete=len(rows) <= limit)
