"""Limit the live logins of a user: a new login ends the oldest on which nothing runs.

A refusal instead would lock out a user who has lost the tokens, such as the author of a script that
logs in at each start. A login with a waiting or running task is never ended by another one.
"""

from __future__ import annotations

import logging

from starlette.concurrency import run_in_threadpool

from api.state.services import Services
from resop.config.logging import log_event
from resop.errors import QueueUnavailable
from resop.messaging.messages import LoggedOut
from resop.messaging.publisher import publish

log = logging.getLogger(__name__)


async def end_surplus_logins(services: Services, username: str, cluster: str, most: int) -> bool:
    """End the oldest idle logins of a user, so that `most` remain; return True if any was ended.

    Raises LimitReached if too few are idle, and RecordsUnavailable.
    """
    credentials = services.storage.credentials
    surplus = await run_in_threadpool(credentials.surplus, username, cluster, most)
    for credential in surplus:
        if await run_in_threadpool(credentials.revoke, credential):
            log_event(log, "login ended", user=username, cluster=cluster, credential=credential)
            await announce_logout(services, credential)
    return bool(surplus)


async def announce_logout(services: Services, credential: str) -> None:
    """Have every process refuse the token of a login that was revoked."""
    message = LoggedOut(credential)
    services.access.logins.on_logout(message)
    try:
        await publish(services.messaging.redis, message)
    except QueueUnavailable:
        # The other API processes have lost Redis too, so they ask the database each time.
        log.warning("a logout was not published: Redis is unavailable")
