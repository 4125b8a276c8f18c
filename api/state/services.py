"""The services that the requests of one API process share, made at start-up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import Request

from api.state.access_token_cache import AccessTokenCache
from api.state.answer_cache import AnswerCache
from api.state.api_key_cache import ApiKeyCache
from api.state.canonical_names import CanonicalNames
from api.state.certificates import UserCA, user_ca
from api.state.login_cache import LoginCache
from api.state.login_monitor import LoginMonitor, LoginUse
from api.state.login_throttle import LoginThrottle
from api.state.open_requests import OpenRequests
from api.state.openid import OpenID
from api.state.readiness import ReadinessProbe
from api.state.requests_by_login import RequestsByLogin
from api.state.submitter import TaskSubmitter
from api.state.task_waiters import CompletionWaiters
from api.state.task_watchers import TaskWatches
from api.state.used_tokens import UsedTokens
from api.state.worker_logins import WorkerLogins
from resop.access.login_administration import LoginAdministration
from resop.access.permissions import Permissions
from resop.access.session_provider import SessionProvider
from resop.actions.catalog import Catalog, load_catalog
from resop.config.settings import Settings
from resop.config.webhook_hosts import WebhookHosts
from resop.messaging.messages import (
    LoggedOut,
    LoginAccepted,
    LoginResult,
    TaskEnded,
    TasksChanged,
)
from resop.messaging.publisher import EventPublisher
from resop.messaging.redis_client import EncryptingRedis, connect_async
from resop.messaging.subscriber import Subscriber
from resop.messaging.task_queue import TaskQueue, celery_app
from resop.security.encryption import Encryptor
from resop.security.identity import Identity
from resop.ssh.connector import Connector
from resop.storage.api_keys import ApiKeyStore
from resop.storage.approvals import ApprovalStore
from resop.storage.audit_chain import AuditChain
from resop.storage.audit_log import AuditLog
from resop.storage.audit_recorder import AuditRecorder
from resop.storage.audit_stream import streamed_chain
from resop.storage.batches import BatchStore
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.idempotency_keys import IdempotencyKeyStore
from resop.storage.login_ends import LoginEnds
from resop.storage.step_output import StepOutputStore
from resop.storage.task_search import TaskSearch
from resop.storage.tasks import TaskStore
from resop.storage.webhooks import WebhookStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The database and its stores."""

    database: Database
    tasks: TaskStore
    credentials: CredentialStore
    api_keys: ApiKeyStore
    idempotency_keys: IdempotencyKeyStore
    search: TaskSearch
    batches: BatchStore
    approvals: ApprovalStore
    step_outputs: StepOutputStore
    webhooks: WebhookStore
    audit_log: AuditLog

    @classmethod
    def open(cls, settings: Settings, audit_chain: AuditChain) -> Storage:
        """Connect to the database, and create its tables if it is empty."""
        database = Database(settings.database_url)
        database.create_tables()
        return cls(
            database=database,
            tasks=TaskStore(database, audit_chain),
            credentials=CredentialStore(database),
            api_keys=ApiKeyStore(database),
            idempotency_keys=IdempotencyKeyStore(database),
            search=TaskSearch(database),
            batches=BatchStore(database),
            approvals=ApprovalStore(database, audit_chain),
            step_outputs=StepOutputStore(database),
            webhooks=WebhookStore(database),
            audit_log=AuditLog(database, audit_chain),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Messaging:
    """The way to the workers, and what their messages wake or invalidate."""

    redis: EncryptingRedis
    subscriber: Subscriber
    publisher: EventPublisher
    submitter: TaskSubmitter
    waiters: CompletionWaiters
    watches: TaskWatches
    answers: AnswerCache

    @classmethod
    def connect(cls, settings: Settings, storage: Storage, encryptor: Encryptor) -> Messaging:
        """Make the parts and subscribe them; nothing is received before the subscriber starts."""
        address, keys = settings.redis_url, encryptor.message_keys
        subscriber = Subscriber(address, keys)
        waiters = CompletionWaiters()
        watches = TaskWatches(storage.tasks, storage.step_outputs)
        answers = AnswerCache(subscriber)
        subscriber.on(TaskEnded, answers.on_task_ended)  # before waiters, which may share one
        subscriber.on(TaskEnded, waiters.on_task_ended)
        subscriber.on(TaskEnded, watches.on_message)
        subscriber.on(TasksChanged, watches.on_message)
        return cls(
            redis=connect_async(address, keys),
            subscriber=subscriber,
            publisher=EventPublisher(address, keys),
            submitter=TaskSubmitter(
                storage.tasks,
                storage.idempotency_keys,
                TaskQueue(celery_app(settings)),
                settings.QUEUED_TASKS,
            ),
            waiters=waiters,
            watches=watches,
            answers=answers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Authentication and authorization: tokens, logins, sessions and the policy."""

    encryptor: Encryptor
    connector: Connector
    sessions: SessionProvider
    permissions: Permissions
    logins: LoginCache
    throttle: LoginThrottle
    requests: RequestsByLogin
    use: LoginUse
    administration: LoginAdministration
    monitor: LoginMonitor
    api_keys: ApiKeyCache
    worker_logins: WorkerLogins
    canonical_names: CanonicalNames
    user_ca: UserCA | None
    openid: OpenID
    auditors: frozenset[Identity]
    used_tokens: UsedTokens
    access_tokens: AccessTokenCache

    @classmethod
    def make(
        cls,
        settings: Settings,
        catalog: Catalog,
        storage: Storage,
        messaging: Messaging,
        encryptor: Encryptor,
    ) -> Access:
        """Make the parts, and subscribe them to logins and logouts."""
        connector, subscriber = Connector(settings), messaging.subscriber
        credentials = storage.credentials
        sessions = SessionProvider(settings, credentials, encryptor, connector, runner=False)
        logins, requests = LoginCache(credentials, subscriber), RequestsByLogin()
        api_keys, access_tokens = ApiKeyCache(storage.api_keys), AccessTokenCache()
        ends, use = LoginEnds(storage.database), LoginUse()
        on_logout = (
            *(logins.on_logout, sessions.on_logout, requests.on_logout),
            *(api_keys.on_logout, access_tokens.on_logout),
        )
        worker_logins = WorkerLogins(messaging.redis, subscriber, encryptor, settings.LOGIN_SECONDS)
        for callback in on_logout:
            subscriber.on(LoggedOut, callback)
        subscriber.on(LoginAccepted, worker_logins.on_message)
        subscriber.on(LoginResult, worker_logins.on_message)
        return cls(
            encryptor=encryptor,
            connector=connector,
            sessions=sessions,
            permissions=Permissions(settings.policy(), catalog, credentials),
            logins=logins,
            throttle=LoginThrottle(messaging.redis, encryptor),
            requests=requests,
            use=use,
            administration=LoginAdministration(ends, messaging.publisher),
            monitor=LoginMonitor(credentials, ends, use, on_logout),
            api_keys=api_keys,
            worker_logins=worker_logins,
            canonical_names=CanonicalNames(),
            user_ca=user_ca(settings),
            openid=OpenID(settings),
            auditors=settings.auditors(),
            used_tokens=UsedTokens(messaging.redis),
            access_tokens=access_tokens,
        )

    def on_logout(self, message: LoggedOut) -> None:
        """End in this process what belongs to a login that has ended."""
        for callback in (self.logins, self.sessions, self.requests):
            callback.on_logout(message)
        self.api_keys.on_logout(message)
        self.access_tokens.on_logout(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that the requests of one API process share."""

    settings: Settings
    catalog: Catalog
    webhook_hosts: WebhookHosts
    storage: Storage
    messaging: Messaging
    access: Access
    open_requests: OpenRequests
    readiness: ReadinessProbe
    audit: AuditRecorder

    async def start(self) -> None:
        """Start to submit tasks, to record requests and to receive messages."""
        self.audit.start()
        self.messaging.submitter.start()
        await self.messaging.subscriber.start()
        self.access.monitor.start()

    async def stop(self) -> None:
        """Submit what is pending, then close all connections."""
        await self.access.monitor.stop()
        await self.messaging.submitter.stop()
        await self.access.sessions.close()
        await self.messaging.subscriber.stop()
        await self.messaging.redis.aclose()
        self.messaging.publisher.close()
        await asyncio.to_thread(self.audit.stop)
        self.storage.database.close()


def make_services(settings: Settings) -> Services:
    """Make the services. Raises SetupError, which names the wrong setting or operator."""
    catalog = load_catalog(settings.operator_folders)  # first: a broken file is reported at once
    encryptor = Encryptor(settings.secret_key(), settings.previous_secret_key())
    chain, streams = streamed_chain(
        encryptor.audit_key, "api", settings.AUDIT_FILE, settings.AUDIT_SYSLOG
    )
    storage = Storage.open(settings, chain)
    messaging = Messaging.connect(settings, storage, encryptor)
    access = Access.make(settings, catalog, storage, messaging, encryptor)
    return Services(
        settings=settings,
        catalog=catalog,
        webhook_hosts=settings.notify_hosts,
        storage=storage,
        messaging=messaging,
        access=access,
        open_requests=OpenRequests(settings),
        readiness=ReadinessProbe(storage.database, messaging.redis, messaging.subscriber),
        audit=AuditRecorder(storage.audit_log, streams),
    )


def services_of(request: Request) -> Services:
    """Return the services of the application that serves a request."""
    services: Services = request.app.state.services
    return services
