"""Find the rows of a user by the name that an administrator writes."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, and_, or_

from resop.security.identity import Identity


def is_user(table: Table, user: str) -> ColumnElement[bool]:
    """Return the condition that a row belongs to `user`: `name@cluster`, or a name anywhere.

    A name may contain an '@' itself, so `ada@example.org` is also looked for as a name.
    """
    anywhere = table.c.username == user
    identity = Identity.parse(user)
    if identity is None:
        return anywhere
    there = and_(table.c.username == identity.username, table.c.cluster == identity.cluster)
    return or_(anywhere, there)
