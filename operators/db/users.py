"""The portal's table of users: found, added, changed, removed.

Settings: PORTAL_TABLE ("users"), and PORTAL_COLUMNS for columns of another name or none, such as
"username=login role=": what is not named there is called as here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from operators.db.portal import Portal, portal
from operators.db.statement import Row, Statement, Value
from resop import Shell

SHOWN = ("id", "username", "email", "full_name", "role", "enabled", "created_at")
SEARCHED = ("username", "email", "full_name")
COLUMNS = (*SHOWN, "password_hash")

FullName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$", max_length=255)]
Email = Annotated[str, Field(pattern=r"^[!-?A-~]+@[!-?A-~]+$", max_length=254)]
Role = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)]


def _in_utc(time: datetime) -> datetime:
    """A time without a zone, such as a DATETIME of MariaDB's, is taken as UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class User(TypedDict):
    """A user of the portal; what its table has no column for is null."""

    id: int | str | None
    username: str
    email: str | None
    full_name: str | None
    role: str | None
    enabled: bool | None
    created_at: Annotated[datetime, AfterValidator(_in_utc)] | None


_USERS = TypeAdapter(list[User])


@dataclass(slots=True)
class Bound:
    """Collects the values of a statement, each with its mark."""

    database: Portal
    values: list[Value] = field(default_factory=list)

    def __call__(self, value: Value) -> str:
        self.values.append(value)
        return self.database.engine.mark(len(self.values))


@dataclass(frozen=True, slots=True)
class Users:
    """The table. Its names come from the settings, checked and quoted; values are bound."""

    database: Portal
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
    ) -> list[User]:
        """At most `limit` users, by name, of those who fit all that is given."""
        bound = Bound(self.database)
        compared = (
            ("username", "=", username),
            ("enabled", "=", enabled),
            ("username", ">", after),
        )
        wanted = [
            f"{self._column(name)} {sign} {bound(value)}"
            for name, sign, value in compared
            if value is not None
        ]
        if search is not None:
            texts = (self.columns[name] for name in SEARCHED if name in self.columns)
            found = (f"position(lower({bound(search)}) in lower({text})) > 0" for text in texts)
            wanted.append(f"({' or '.join(found)})")
        shown = ", ".join(
            f"{self.columns[name]} AS {self.database.engine.quoted(name)}"
            for name in SHOWN
            if name in self.columns
        )
        where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
        order = f" ORDER BY {self._column('username')}"
        sql = f"SELECT {shown} FROM {self.table}{where}{order}"  # noqa: S608 # nosec B608 # names of settings, quoted; values are bound
        what = f"find {username} in the portal" if username else "list the portal's users"
        return self._users(self.database.read(what, Statement(sql, bound.values), limit))

    def existing(self, username: str) -> User:
        """The user of that name; OperationFailed when there is none."""
        found = self.find(username=username)
        return found[0] if found else self.database.shell.fail(f"the portal has no user {username}")

    def add(self, row: Mapping[str, Value]) -> None:
        """Add a user, registered to be undone; values without a column of theirs are refused."""
        bound, username = Bound(self.database), row["username"]
        names = ", ".join(self._column(name) for name in row)
        marks = ", ".join(map(bound, row.values()))
        sql = f"INSERT INTO {self.table} ({names}) VALUES ({marks})"  # noqa: S608 # nosec B608 # names of settings, quoted; values are bound
        with self.database.undone_by(f"remove {username} from the portal", self._removed(username)):
            self.database.change(f"add {username} to the portal", Statement(sql, bound.values))

    def remove(self, username: str) -> bool:
        """Remove a user, for good; whether there was one."""
        what = f"remove {username} from the portal"
        return self.database.change(what, self._removed(username)) > 0

    def enable(self, user: User, enabled: bool) -> None:
        """Let a user in or not, registered to be undone."""
        username = user["username"]
        change = self._set(username, "enabled", enabled)
        if user["enabled"] != enabled:
            undo = self._set(username, "enabled", user["enabled"])
            with self.database.undone_by(_enabled(username, user["enabled"]), undo):
                self.database.change(_enabled(username, enabled), change)

    def set_password_hash(self, username: str, password_hash: Value) -> bool:
        """Replace the hash of a user's password, for good; whether there is such a user."""
        change = self._set(username, "password_hash", password_hash)
        return self.database.change(f"set the portal's password of {username}", change) > 0

    def _users(self, rows: Iterable[Row]) -> list[User]:
        try:
            return _USERS.validate_python([dict.fromkeys(SHOWN) | row for row in rows])
        except ValidationError as fault:
            _, column, *_ = fault.errors()[0]["loc"]
            told = fault.errors()[0]["msg"]
            self.database.shell.fail(f"the portal's column {column} is of another type: {told}")

    def _set(self, username: str, name: str, value: Value) -> Statement:
        bound = Bound(self.database)
        where = f"{self._column(name)} = {bound(value)} WHERE {self._column('username')}"
        sql = f"UPDATE {self.table} SET {where} = {bound(username)}"  # noqa: S608 # nosec B608 # names of settings, quoted; values are bound
        return Statement(sql, bound.values)

    def _removed(self, username: Value) -> Statement:
        bound = Bound(self.database)
        where = f"{self._column('username')} = {bound(username)}"
        return Statement(f"DELETE FROM {self.table} WHERE {where}", bound.values)  # noqa: S608 # nosec B608 # names of settings, quoted; values are bound

    def _column(self, name: str) -> str:
        if name not in self.columns:
            self.database.shell.fail(f"the portal has no {name}: PORTAL_COLUMNS says so")
        return self.columns[name]


def _enabled(username: str, enabled: bool | None) -> str:
    return f"let {username} into the portal" if enabled else f"keep {username} out of the portal"


def users(shell: Shell) -> Users:
    """The portal's table of users, as the settings describe it."""
    database = portal(shell)
    quoted = database.engine.quoted
    names = dict(zip(COLUMNS, COLUMNS, strict=True))
    for entry in shell.setting("PORTAL_COLUMNS", "").split():
        name, _, column = entry.partition("=")
        if name not in names or not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*|", column):
            shell.fail(f"the setting PORTAL_COLUMNS: {entry} is not of the form NAME=COLUMN")
        names[name] = column
    table = shell.setting("PORTAL_TABLE", "users")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?", table):
        shell.fail(f"the setting PORTAL_TABLE: {table} is not the name of a table")
    columns = {name: quoted(column) for name, column in names.items() if column}
    return Users(database, ".".join(map(quoted, table.split("."))), columns)
