"""End logins with everything that runs on them, and block users: for the API, workers and `resop`.

The database is written first, so that every process finds out even if no message arrives.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from resop.config.logging import log_event
from resop.errors import QueueUnavailable
from resop.messaging.messages import BatchReady, CancelRequested, LoggedOut, Message, Resync
from resop.messaging.publisher import EventPublisher
from resop.storage.login_ends import EndedLogin, EndedWork, LoginEnds
from resop.storage.models import BlockedUser

log = logging.getLogger(__name__)


def work_messages(work: EndedWork) -> list[Message]:
    """Return the messages about the tasks of ended logins."""
    messages: list[Message] = [CancelRequested(task) for task in work.running]
    if work.cancelled:
        messages += [Resync(), BatchReady()]
    return messages


class LoginAdministration:
    """Ends logins and blocks users. Methods block; all raise RecordsUnavailable."""

    def __init__(self, ends: LoginEnds, publisher: EventPublisher) -> None:
        self._ends = ends
        self._publisher = publisher

    def end(
        self, ids: Sequence[str], reason: str, *, keep_running: bool = False
    ) -> list[EndedLogin]:
        """End these logins, and unless `keep_running` their tasks; return the live ones."""
        return self._end_work(self._ends.end(ids, reason, keep_running=keep_running))

    def end_all(
        self,
        username: str,
        cluster: str,
        reason: str,
        *,
        but: str | None = None,
        keep_running: bool = False,
    ) -> list[EndedLogin]:
        """End all logins of a user, except the one with the id `but`, as `end` does."""
        return self._end_work(
            self._ends.end_all(username, cluster, reason, but=but, keep_running=keep_running)
        )

    def block(self, username: str, cluster: str, reason: str, by: str) -> list[EndedLogin]:
        """Refuse logins of a user from now on, and end the present ones with their tasks."""
        blocked = BlockedUser(username=username, cluster=cluster, reason=reason, blocked_by=by)
        ended = self._end_work(self._ends.block(blocked))
        log_event(log, "user blocked", user=username, cluster=cluster, by=by, reason=reason)
        return ended

    def unblock(self, username: str, cluster: str, by: str) -> bool:
        """Let a user log in again; return False if the user was not blocked."""
        unblocked = self._ends.unblock(username, cluster)
        if unblocked:
            log_event(log, "user unblocked", user=username, cluster=cluster, by=by)
        return unblocked

    def _end_work(self, ended: list[EndedLogin]) -> list[EndedLogin]:
        # The logins first: the tokens are refused while many tasks are being cancelled.
        published = self._publish([LoggedOut(each.id) for each in ended])
        messages = work_messages(self._ends.end_work(ended))
        if not (published and self._publish(messages)):
            log.warning("Redis is unavailable: the end of logins is noticed within seconds only")
        for each in ended:
            log_event(
                log,
                "login ended",
                user=each.username,
                cluster=each.cluster,
                credential=each.id,
                reason=each.reason,
            )
        return ended

    def _publish(self, messages: Sequence[Message]) -> bool:
        """Publish messages, if there are any; return False without Redis."""
        try:
            if messages:
                self._publisher.publish(*messages)
        except QueueUnavailable:
            return False
        return True
