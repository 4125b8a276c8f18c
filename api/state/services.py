"""What the routes share in one API process, made at start-up."""

from __future__ import annotations

from dataclasses import dataclass

import redis.asyncio
from fastapi import Request

from api.state.answer_cache import AnswerCache
from api.state.certificates import UserCA
from api.state.login_cache import LoginCache
from api.state.openid import OpenID
from api.state.submitter import TaskSubmitter
from api.state.task_waiters import CompletionWaiters
from api.state.task_watchers import TaskWatches
from api.state.worker_logins import WorkerLogins
from resop.access.permissions import Permissions
from resop.access.session_provider import SessionProvider
from resop.actions.catalog import Catalog, load_catalog
from resop.config.settings import Settings
from resop.messaging.messages import (
    LoggedOut,
    LoginAccepted,
    LoginResult,
    TaskEnded,
    TasksChanged,
)
from resop.messaging.publisher import EventPublisher
from resop.messaging.subscriber import Subscriber
from resop.messaging.task_queue import TaskQueue, celery_app
from resop.security.encryption import Encryptor
from resop.ssh.connector import Connector
from resop.storage.audit_log import AuditLog
from resop.storage.batches import BatchStore
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.step_output import StepOutputStore
from resop.storage.task_search import TaskSearch
from resop.storage.tasks import TaskStore


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the service that an API process talks to."""

    settings: Settings
    catalog: Catalog
    database: Database
    tasks: TaskStore
    credentials: CredentialStore
    idempotency_keys: IdempotencyKeyStore
    search: TaskSearch
    batches: BatchStore
    step_outputs: StepOutputStore
    audit_log: AuditLog
    encryptor: Encryptor
    submitter: TaskSubmitter
    publisher: EventPublisher
    waiters: CompletionWaiters
    watches: TaskWatches
    logins: LoginCache
    answers: AnswerCache
    worker_logins: WorkerLogins
    user_ca: UserCA | None
    openid: OpenID
    subscriber: Subscriber
    connector: Connector
    sessions: SessionProvider
    permissions: Permissions
    redis: redis.asyncio.Redis

    async def start(self) -> None:
        """Begin to listen for what becomes of tasks."""
        self.submitter.start()
        await self.subscriber.start()

    async def stop(self) -> None:
        """Close what was opened."""
        await self.submitter.stop()
        await self.sessions.close()
        await self.subscriber.stop()
        await self.redis.aclose()
        self.publisher.close()
        self.database.close()


def make_services(settings: Settings) -> Services:
    """Connect the parts as the settings say; SetupError names what is wrong."""
    catalog = load_catalog(settings.operator_folders)  # a broken file is told first of all
    database = Database(settings.database_url)
    database.create_tables()
    sealer = Encryptor(settings.secret_key(), settings.previous_secret_key())
    connector = Connector(settings)
    tasks, credentials = TaskStore(database), CredentialStore(database)
    keys = IdempotencyKeyStore(database)
    printed = StepOutputStore(database)
    waiters, feeds, logins = (
        CompletionWaiters(),
        TaskWatches(tasks, printed),
        LoginCache(credentials),
    )
    questions = AnswerCache()

    access = SessionProvider(settings, credentials, sealer, connector, runner=False)

    client = redis.asyncio.Redis.from_url(settings.redis_url, socket_timeout=5)
    handovers = WorkerLogins(client, sealer)
    subscriber = Subscriber(settings.redis_url)
    subscriber.on(TaskEnded, questions.on_task_ended)
    subscriber.on(TaskEnded, waiters.on_task_ended)
    subscriber.on(TaskEnded, feeds.on_message)
    subscriber.on(TasksChanged, feeds.on_message)
    subscriber.on(LoggedOut, logins.on_logout)
    subscriber.on(LoggedOut, access.on_logout)
    subscriber.on(LoginAccepted, handovers.on_message)
    subscriber.on(LoginResult, handovers.on_message)
    return Services(
        settings,
        catalog,
        database,
        tasks,
        credentials,
        keys,
        TaskSearch(database),
        BatchStore(database),
        printed,
        AuditLog(database),
        sealer,
        TaskSubmitter(tasks, keys, TaskQueue(celery_app(settings)), settings.QUEUED_TASKS),
        EventPublisher(settings.redis_url),
        waiters,
        feeds,
        logins,
        questions,
        handovers,
        UserCA(settings.USER_CA_KEY) if settings.USER_CA_KEY else None,
        OpenID(settings),
        subscriber,
        connector,
        access,
        Permissions(settings.policy(), catalog, credentials),
        client,
    )


def services_of(request: Request) -> Services:
    """The services of the application that serves `request`."""
    services: Services = request.app.state.services
    return services
