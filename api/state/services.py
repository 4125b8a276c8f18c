"""What the routes share in one API process, made at start-up."""

from __future__ import annotations

from dataclasses import dataclass

import redis.asyncio
from fastapi import Request

from api.state.answer_cache import Questions
from api.state.certificates import UserCA
from api.state.login_cache import Logins
from api.state.openid import OpenID
from api.state.submitter import Intake
from api.state.task_waiters import Waiters
from api.state.task_watchers import Feeds
from api.state.worker_logins import Handovers
from resop.access.permissions import Permissions
from resop.access.session_provider import Access
from resop.actions.catalog import Catalog, load_catalog
from resop.config.settings import Settings
from resop.messaging.publisher import CHANGED, ENDED, LOGGED_OUT, Herald
from resop.messaging.subscriber import Subscription
from resop.messaging.task_queue import Queue, celery_app
from resop.security.login_handover import ANSWER
from resop.security.sealing import Sealer
from resop.ssh.connector import Connector
from resop.storage.audit_log import Audit
from resop.storage.batches import Batches
from resop.storage.step_output import Printed
from resop.storage.task_search import History
from resop.storage.tasks import Records


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the service that an API process talks to."""

    settings: Settings
    catalog: Catalog
    records: Records
    history: History
    batches: Batches
    printed: Printed
    audit: Audit
    sealer: Sealer
    intake: Intake
    herald: Herald
    waiters: Waiters
    feeds: Feeds
    logins: Logins
    questions: Questions
    handovers: Handovers
    user_ca: UserCA | None
    openid: OpenID
    subscription: Subscription
    connector: Connector
    access: Access
    permissions: Permissions
    redis: redis.asyncio.Redis

    async def start(self) -> None:
        """Begin to listen for what becomes of tasks."""
        self.intake.start()
        await self.subscription.start()

    async def stop(self) -> None:
        """Close what was opened."""
        await self.intake.stop()
        await self.access.close()
        await self.subscription.stop()
        await self.redis.aclose()
        self.herald.close()
        self.records.close()


def make_services(settings: Settings) -> Services:
    """Connect the parts as the settings say; SetupError names what is wrong."""
    catalog = load_catalog(settings.operator_folders)  # a broken file is told first of all
    records = Records(settings.database_url)
    records.create_tables()
    sealer = Sealer(settings.secret_key(), settings.old_secret_key())
    connector = Connector(settings)
    printed = Printed(records)
    waiters, feeds, logins = Waiters(), Feeds(records, printed), Logins(records)
    questions = Questions()

    def hear_ended(word: str | None) -> None:
        word = word or None  # an empty one is of many
        questions.hear(word)
        waiters.hear(word)
        feeds.hear(word and word.partition(" ")[0])

    access = Access(settings, records, sealer, connector, runner=False)

    def hear_logged_out(credential: str | None) -> None:
        logins.hear(credential)
        access.hear_logged_out(credential)

    client = redis.asyncio.Redis.from_url(settings.redis_url, socket_timeout=5)
    handovers = Handovers(client, sealer)
    hearers = {
        ENDED: hear_ended,
        CHANGED: feeds.hear,
        LOGGED_OUT: hear_logged_out,
        ANSWER: handovers.hear,
    }
    return Services(
        settings,
        catalog,
        records,
        History(records),
        Batches(records),
        printed,
        Audit(records),
        sealer,
        Intake(records, Queue(celery_app(settings)), settings.QUEUED_TASKS),
        Herald(settings.redis_url),
        waiters,
        feeds,
        logins,
        questions,
        handovers,
        UserCA(settings.USER_CA_KEY) if settings.USER_CA_KEY else None,
        OpenID(settings),
        Subscription(settings.redis_url, hearers),
        connector,
        access,
        Permissions(settings.policy(), catalog, records),
        client,
    )


def services_of(request: Request) -> Services:
    """The services of the application that serves `request`."""
    services: Services = request.app.state.services
    return services
