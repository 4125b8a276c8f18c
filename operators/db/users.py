"""Find, add, change and remove users in the portal's table.

Settings: PORTAL_TABLE (default "users"), and PORTAL_COLUMNS for columns with other names, or that
the table does not have: "username=login role=". The default names are those of COLUMN_NAMES.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, cast

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from operators.db.portal import PortalDatabase, open_portal
from operators.db.statement import QueryRow, SqlValue, Statement
from resop import ErrorMessage, Shell

PLANNED = "portal user"
"""The kind of users in `Shell.planned`."""
RETURNED_COLUMNS = ("id", "username", "mail", "full_name", "role", "enabled", "created_at")
SEARCHED_COLUMNS = ("username", "mail", "full_name")
COLUMN_NAMES = {
    **{name: name for name in (*RETURNED_COLUMNS, "password_hash")},
    "mail": "email",
}
"""The portal's columns by our names, unless PORTAL_COLUMNS names others."""

PortalFullName = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$", max_length=255),
    ErrorMessage("must be a name of 1 to 255 characters, without control characters"),
]
PortalRole = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64),
    ErrorMessage("must be a role: up to 64 letters, digits and _ . -"),
]


def _in_utc(time: datetime) -> datetime:
    """Take a time without a zone, such as MariaDB's DATETIME, as UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class PortalUser(TypedDict):
    """A user of the portal; values that its table has no column for are None."""

    id: int | str | None
    username: str
    mail: str | None
    full_name: str | None
    role: str | None
    enabled: bool | None
    created_at: Annotated[datetime, AfterValidator(_in_utc)] | None


_USER_LIST = TypeAdapter(list[PortalUser])


@dataclass(slots=True)
class ValueBinder:
    """Collect a statement's values, and return the placeholder of each."""

    database: PortalDatabase
    values: list[SqlValue] = field(default_factory=list)

    def __call__(self, value: SqlValue) -> str:
        self.values.append(value)
        return self.database.engine.placeholder(len(self.values))


@dataclass(frozen=True, slots=True)
class UserTable:
    """The portal's table of users: names are checked and quoted, values are bound."""

    database: PortalDatabase
    table: str
    columns: Mapping[str, str]

    def find(
        self,
        *,
        username: str | None = None,
        search: str | None = None,
        enabled: bool | None = None,
        after: str | None = None,
        limit: int = 1,
    ) -> list[PortalUser]:
        """Return at most `limit` users that match all filters, ordered by user name."""
        bind = ValueBinder(self.database)
        compared = (
            ("username", "=", username),
            ("enabled", "=", enabled),
            ("username", ">", after),
        )
        conditions = [
            f"{self._column(name)} {sign} {bind(value)}"
            for name, sign, value in compared
            if value is not None
        ]
        if search is not None:
            texts = (self.columns[name] for name in SEARCHED_COLUMNS if name in self.columns)
            searches = (f"position(lower({bind(search)}) in lower({text})) > 0" for text in texts)
            conditions.append(f"({' or '.join(searches)})")
        columns = ", ".join(
            f"{self.columns[name]} AS {self.database.engine.quote_name(name)}"
            for name in RETURNED_COLUMNS
            if name in self.columns
        )
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        order = f" ORDER BY {self._column('username')}"
        sql = f"SELECT {columns} FROM {self.table}{where}{order}"  # noqa: S608 # nosec B608 # names of settings, quoted; values are bound
        if username and (planned := self.database.shell.planned.get((PLANNED, username))):
            return [planned]
        summary = f"find {username} in the portal" if username else "list the portal's users"
        return self._users(self.database.read(summary, Statement(sql, bind.values), limit))

    def get(self, username: str) -> PortalUser:
        """Return the user of that name; OperationFailed if there is none."""
        found = self.find(username=username)
        return found[0] if found else self.database.shell.fail(f"the portal has no user {username}")

    def add(self, row: Mapping[str, SqlValue]) -> None:
        """Add a user, registered to be undone; fails for a value that has no column."""
        bind, username = ValueBinder(self.database), row["username"]
        names = ", ".join(self._column(name) for name in row)
        placeholders = ", ".join(map(bind, row.values()))
        sql = f"INSERT INTO {self.table} ({names}) VALUES ({placeholders})"  # noqa: S608 # nosec B608 # names of settings, quoted; values are bound
        with self.database.undone_by(
            f"remove {username} from the portal", self._delete_statement(username)
        ):
            self.database.change(f"add {username} to the portal", Statement(sql, bind.values))
        if self.database.shell.dry_run:
            # Without the values that the database chooses.
            known = {name: value for name, value in row.items() if name in RETURNED_COLUMNS}
            [user] = self._users([{"enabled": True, **known}])
            self.database.shell.planned[PLANNED, str(username)] = user

    def remove(self, username: str) -> bool:
        """Permanently remove a user; return True if there was one."""
        summary = f"remove {username} from the portal"
        return self._change_row(username, summary, self._delete_statement(username))

    def enable(self, user: PortalUser, enabled: bool) -> None:
        """Enable or disable a user, registered to be undone."""
        username = user["username"]
        change = self._update_statement(username, "enabled", enabled)
        if user["enabled"] != enabled:
            undo = self._update_statement(username, "enabled", user["enabled"])
            with self.database.undone_by(_enable_summary(username, user["enabled"]), undo):
                self.database.change(_enable_summary(username, enabled), change)

    def change(self, user: PortalUser, values: Mapping[str, SqlValue]) -> None:
        """Change columns of a user, registered to be undone."""
        username, former = user["username"], cast("dict[str, SqlValue]", user)
        for name, value in values.items():
            summary = f"change {name} of {username} in the portal"
            undo = self._update_statement(username, name, former[name])
            with self.database.undone_by(summary, undo):
                self.database.change(summary, self._update_statement(username, name, value))

    def set_password_hash(self, username: str, password_hash: SqlValue) -> bool:
        """Permanently replace a user's password hash; return True if there is such a user."""
        change = self._update_statement(username, "password_hash", password_hash)
        return self._change_row(username, f"set the portal's password of {username}", change)

    def _change_row(self, username: str, summary: str, change: Statement) -> bool:
        """Change a user's row; return True if there is one."""
        if self.database.shell.dry_run and not self.find(username=username):
            return False
        return self.database.change(summary, change) > 0

    def _users(self, rows: Iterable[QueryRow]) -> list[PortalUser]:
        try:
            return _USER_LIST.validate_python(
                [dict.fromkeys(RETURNED_COLUMNS) | row for row in rows]
            )
        except ValidationError as fault:
            _, column, *_ = fault.errors()[0]["loc"]
            self.database.shell.fail(f"the portal's column {column} has an unexpected type")

    def _update_statement(self, username: str, name: str, value: SqlValue) -> Statement:
        bind = ValueBinder(self.database)
        where = f"{self._column(name)} = {bind(value)} WHERE {self._column('username')}"
        sql = f"UPDATE {self.table} SET {where} = {bind(username)}"  # noqa: S608 # nosec B608 # names of settings, quoted; values are bound
        return Statement(sql, bind.values)

    def _delete_statement(self, username: SqlValue) -> Statement:
        bind = ValueBinder(self.database)
        where = f"{self._column('username')} = {bind(username)}"
        return Statement(f"DELETE FROM {self.table} WHERE {where}", bind.values)  # noqa: S608 # nosec B608 # names of settings, quoted; values are bound

    def _column(self, name: str) -> str:
        if name not in self.columns:
            self.database.shell.fail(f"the portal has no column for {name} (see PORTAL_COLUMNS)")
        return self.columns[name]


def _enable_summary(username: str, enabled: bool | None) -> str:
    return f"enable {username} in the portal" if enabled else f"disable {username} in the portal"


def user_table(shell: Shell) -> UserTable:
    """Return the portal's table of users, as the settings describe it."""
    database = open_portal(shell)
    quote_name = database.engine.quote_name
    names = dict(COLUMN_NAMES)
    for entry in shell.setting("PORTAL_COLUMNS", "").split():
        name, _, column = entry.partition("=")
        if name not in names or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*|", column):
            shell.fail(f"setting PORTAL_COLUMNS: {entry} must have the form NAME=COLUMN")
        names[name] = column
    table = shell.setting("PORTAL_TABLE", "users")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?", table):
        shell.fail(f"setting PORTAL_TABLE: {table} is not a table name")
    columns = {name: quote_name(column) for name, column in names.items() if column}
    return UserTable(database, ".".join(map(quote_name, table.split("."))), columns)
