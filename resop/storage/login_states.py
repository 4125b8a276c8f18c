"""The conditions under which a login is live, and under which its tasks may run."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, not_, or_

from resop.storage.models import BLOCKED_USER, CREDENTIAL, TASK


def is_blocked() -> ColumnElement[bool]:
    """Return the condition that the user of a credential is blocked."""
    return exists().where(
        BLOCKED_USER.c.username == CREDENTIAL.c.username,
        BLOCKED_USER.c.cluster == CREDENTIAL.c.cluster,
    )


def is_live(moment: object) -> ColumnElement[bool]:
    """Return the condition that the token of a credential is accepted."""
    return and_(
        CREDENTIAL.c.revoked_at.is_(None), CREDENTIAL.c.expires_at > moment, not_(is_blocked())
    )


def has_ended(moment: object) -> ColumnElement[bool]:
    """Return the condition that no task of a credential may run any more."""
    revoked = CREDENTIAL.c.revoked_at.is_not(None) & CREDENTIAL.c.keep_running.is_(False)
    return or_(revoked, CREDENTIAL.c.expires_at <= moment, is_blocked())


def login_has_ended(moment: object) -> ColumnElement[bool]:
    """Return the condition that the login of a task has ended; False if it is unknown."""
    return exists().where(CREDENTIAL.c.id == TASK.c.credential, has_ended(moment))
