"""Sends webhooks: signed HTTPS requests that report ended tasks and batches, with retries.

Requests for approval are reported in the same way, when they are made.

Deliveries and their times are only in the database: they outlive this process, and several workers
share them. The format is that of Standard Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import random
import socket
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import httpx

from resop.config.logging import log_event
from resop.config.settings import Settings
from resop.config.webhook_hosts import WebhookHost, is_public, webhook_key
from resop.errors import InvalidSettings, RecordsUnavailable
from resop.storage.approvals import ApprovalStore
from resop.storage.batches import BatchStore
from resop.storage.database import Database
from resop.storage.models import Approval, Batch, State, Task, WebhookDelivery, now
from resop.storage.serializers import approval_json, batch_summary, iso_time, task_summary
from resop.storage.tasks import TaskStore
from resop.storage.webhooks import WebhookStore

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
MAX_CONCURRENT = 50
ATTEMPT_SECONDS = 15.0
"""Time limit of one attempt, from its claim to the answer."""
CONNECT_SECONDS = 5.0
LEASE_SECONDS = 40.0
"""How long an attempt belongs to its worker; longer than any attempt takes."""
RETRY_PAUSES = (10, 30, 120, 600, 1800, 3600, 10800, 21600, 43200)
"""Seconds before the second attempt, the third, …: about a day in all."""
MAX_OUTPUT_CHARS = 10_000
"""The longest output, in characters of its JSON, that is sent; longer ones are left out."""
MAX_ERROR_CHARS = 500


class DeliveryRefused(Exception):
    """Raised for an address that must not be connected to, or an answer other than success."""


class Payload(NamedTuple):
    """The webhook of one ended task or batch, or of one request for approval."""

    address: str
    message: dict[str, Any]


class WebhookSender:
    """A thread that sends the webhooks that are due."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Set up; raises InvalidSettings for an unreadable SSL_CERT_FILE or SSL_CERT_DIR."""
        self._hosts = settings.notify_hosts
        assert settings.NOTIFY_SECRET is not None  # as NOTIFY_HOSTS is set
        self._key = webhook_key(settings.NOTIFY_SECRET)
        self._private = settings.NOTIFY_PRIVATE
        self._tasks = TaskStore(database)
        self._batches = BatchStore(database)
        self._approvals = ApprovalStore(database)
        self._deliveries = WebhookStore(database)
        try:
            self._certificates = httpx.create_ssl_context()
        except OSError as fault:
            raise InvalidSettings(f"SSL_CERT_FILE or SSL_CERT_DIR: {fault}") from None
        self._sending: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._work()), name="webhooks", daemon=True
        )

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the attempts under way, then stop."""
        self._stopping.set()
        self._thread.join(LEASE_SECONDS)

    async def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._begin_due()
            except RecordsUnavailable as fault:
                log.warning("webhooks wait for the database: %s", fault.message)
            except Exception:
                log.exception("webhooks: a fault of the service")
            await asyncio.to_thread(self._stopping.wait, POLL_SECONDS)
        await asyncio.gather(*self._sending)

    async def _begin_due(self) -> None:
        free = MAX_CONCURRENT - len(self._sending)
        for each in await asyncio.to_thread(self._deliveries.due, free) if free else ():
            sending = asyncio.create_task(self._attempt(each))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _attempt(self, delivery: WebhookDelivery) -> None:
        """Attempt a delivery unless another worker has it, and record the outcome."""
        subject = delivery.task
        try:
            error = await self._deliver(delivery)
            if error is None:
                await asyncio.to_thread(self._deliveries.delivered, delivery)
                log_event(log, "webhook sent", task=subject, attempt=delivery.attempts + 1)
            elif error:
                next_at = _next_attempt(delivery.attempts + 1)
                await asyncio.to_thread(self._deliveries.failed, delivery, error, next_at)
                log.warning("%s: webhook not delivered: %s", subject, error)
        except RecordsUnavailable as fault:
            log.warning("%s: webhook waits for the database: %s", subject, fault.message)
        except Exception:
            log.exception("%s: webhook: a fault of the service", subject)

    async def _deliver(self, delivery: WebhookDelivery) -> str | None:
        """Make one attempt; return the error, None for success, '' if there was none to make."""
        claimed = False
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                until = now() + timedelta(seconds=LEASE_SECONDS)
                claimed = await asyncio.to_thread(self._deliveries.begin, delivery, until)
                payload = await asyncio.to_thread(self._payload, delivery.task) if claimed else None
                if payload is None:
                    return ""
                await self._send(delivery.task, payload)
        except TimeoutError:
            return f"no answer within {ATTEMPT_SECONDS:g} s" if claimed else ""
        except (DeliveryRefused, OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as fault:
            return (str(fault) or type(fault).__name__)[:MAX_ERROR_CHARS]
        return None

    def _payload(self, subject: str) -> Payload | None:
        """Return the webhook of a task, batch or request for approval; None if it was deleted."""
        if (task := self._tasks.get(subject)) is not None:
            return Payload(task.notify or "", task_ended(task))
        if (batch := self._batches.get(subject)) is not None:
            counts = self._batches.counts([subject]).get(subject, {})
            return Payload(batch.notify or "", batch_ended(batch, counts))
        if (approval := self._approvals.get(subject)) is not None:
            return Payload(approval.notify or "", self._approval_requested(approval))
        return None

    def _approval_requested(self, approval: Approval) -> dict[str, Any]:
        """Return the message about a request, with the masked options of its task or batch."""
        subject: Task | Batch | None = None
        if approval.task is not None:
            subject = self._tasks.get(approval.task)
        elif approval.batch is not None:
            subject = self._batches.get(approval.batch)
        options = subject.options if subject is not None else {}
        waits = self._approvals.has_waiting_task(approval)
        return {
            "type": "approval.requested",
            "timestamp": iso_time(approval.created_at),
            "data": {**(approval_json(approval, waits) or {}), "options": options},
        }

    async def _send(self, subject: str, payload: Payload) -> None:
        """Send a webhook; raises DeliveryRefused, ValueError, OSError and what httpx raises."""
        receiver = self._hosts.receiver(payload.address)  # NOTIFY_HOSTS may have changed
        body = json.dumps(payload.message, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "resop"}
        headers |= signature_headers(self._key, subject, int(now().timestamp()), body)
        *others, last = await self._addresses(receiver)
        for address in others:
            try:
                return await self._post(address, receiver, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as fault:
                log.debug("%s: %s: %s", subject, address, fault)
        return await self._post(last, receiver, headers, body)

    async def _addresses(self, receiver: WebhookHost) -> list[str]:
        """Resolve a host; raises DeliveryRefused if one of its addresses is not public."""
        found = await asyncio.get_running_loop().getaddrinfo(
            receiver.host, receiver.port, type=socket.SOCK_STREAM
        )
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        for address in addresses:
            if not self._private and not is_public(address):
                raise DeliveryRefused(
                    f"{receiver.host} is {address}, which is not a public address"
                )
        return addresses

    async def _post(
        self, address: str, receiver: WebhookHost, headers: dict[str, str], body: bytes
    ) -> None:
        """Post to the very address that was checked, with the host's own name for TLS."""
        target = receiver.target.encode()
        url = httpx.URL(scheme="https", host=address, port=receiver.port, raw_path=target)
        async with (
            httpx.AsyncClient(
                verify=self._certificates,
                trust_env=False,  # a proxy would resolve the name again
                timeout=httpx.Timeout(ATTEMPT_SECONDS, connect=CONNECT_SECONDS),
            ) as client,
            # Not pooled, and only the head of the answer is read.
            client.stream(
                "POST",
                url,
                content=body,
                headers={**headers, "Host": receiver.authority},
                extensions={"sni_hostname": receiver.host},
            ) as answer,
        ):
            if answer.is_redirect:
                raise DeliveryRefused(f"answered {answer.status_code}: redirects are not followed")
            if not answer.is_success:
                raise DeliveryRefused(f"answered {answer.status_code}")


def task_ended(task: Task) -> dict[str, Any]:
    """Return the message about a task: without steps and log, and with the output if short."""
    output = task.output
    omitted = len(json.dumps(output)) > MAX_OUTPUT_CHARS
    output_fields = {"output": None if omitted else output, "output_omitted": omitted}
    return {
        "type": "task.ended",
        "timestamp": iso_time(task.ended_at),
        "data": {**task_summary(task.model_dump()), "exit_code": task.exit_code, **output_fields},
    }


def batch_ended(batch: Batch, counts: Mapping[State, int]) -> dict[str, Any]:
    """Return the message about a batch, with the number of its tasks by state."""
    return {
        "type": "batch.ended",
        "timestamp": iso_time(batch.ended_at),
        "data": batch_summary(batch, counts),
    }


def signature_headers(key: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that let a receiver verify sender and time, and drop repetitions."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def _next_attempt(attempts: int) -> datetime | None:
    """Return when to try again after a number of attempts; None after the last one."""
    if attempts > len(RETRY_PAUSES):
        return None
    # With jitter, so that a receiver that is back does not get all retries at once.
    return now() + timedelta(seconds=RETRY_PAUSES[attempts - 1] * random.uniform(1, 1.2))
