"""Limit the live logins of a user: a new login ends the oldest on which nothing runs.

A refusal instead would lock out a user who has lost the tokens, such as the author of a script that
logs in at each start. A login with a waiting or running task is never ended by another one.
"""

from __future__ import annotations

from functools import partial

from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from resop.messaging.messages import LoggedOut

REASON = "the user has logged in too often since"


async def end_surplus_logins(services: Services, username: str, cluster: str, most: int) -> bool:
    """End the oldest idle logins of a user, so that `most` remain; return True if any was ended.

    Raises LimitReached if too few are idle, and RecordsUnavailable.
    """
    credentials = services.storage.credentials
    surplus = await run_in_threadpool(credentials.surplus, username, cluster, most)
    # A task that has begun meanwhile continues.
    end = partial(services.access.administration.end, surplus, REASON, keep_running=True)
    for ended in await run_in_threadpool(end):
        services.access.on_logout(LoggedOut(ended.id))
    return bool(surplus)
