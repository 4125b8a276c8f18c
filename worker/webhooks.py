"""Tells the addresses that callers gave of the ends of their tasks and batches: signed, and again
if need be.

What is due, and when, is in the database alone: it outlives this process, and several of them
share the work. As Standard Webhooks has it (https://www.standardwebhooks.com).
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
from resop.config.webhook_hosts import WebhookHost, is_public
from resop.errors import InvalidSettings, RecordsUnavailable
from resop.storage.batches import BatchStore
from resop.storage.database import Database
from resop.storage.models import Batch, State, Task, WebhookDelivery, now
from resop.storage.serializers import batch_summary, iso_time, task_summary
from resop.storage.tasks import TaskStore
from resop.storage.webhooks import WebhookStore

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
AT_ONCE = 50
ATTEMPT_SECONDS = 15.0
"""From its claim to its answer."""
CONNECT_SECONDS = 5.0
LEASE_SECONDS = 40.0
"""How long an attempt belongs to its worker: longer than it lasts, whatever becomes of it."""
PAUSES = (10, 30, 120, 600, 1800, 3600, 10800, 21600, 43200)
"""Seconds before the second attempt, the third, …: all of them take a day."""
OUTPUT_LIMIT = 10_000
"""Characters of an output as JSON that are told; who wants more asks for the task."""
ERROR_LIMIT = 500


class DeliveryRefused(Exception):
    """An attempt that was not made, or not answered as it should be."""


class Payload(NamedTuple):
    """What is told of the end of a task or batch."""

    address: str
    message: dict[str, Any]


class WebhookSender:
    """A thread that sends what is due."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """`settings` name the hosts that may be told; SSL_CERT_FILE and SSL_CERT_DIR count."""
        self._hosts = settings.notify_hosts
        self._key = settings.notify_key()
        self._private = settings.NOTIFY_PRIVATE
        self._tasks = TaskStore(database)
        self._batches = BatchStore(database)
        self._notifications = WebhookStore(database)
        try:
            self._certificates = httpx.create_ssl_context()
        except OSError as fault:
            raise InvalidSettings(f"SSL_CERT_FILE or SSL_CERT_DIR: {fault}") from None
        self._sending: set[asyncio.Task[None]] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._work()), name="notifier", daemon=True
        )

    def start(self) -> None:
        """Begin to look for what is due."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the attempts that were begun."""
        self._stopping.set()
        self._thread.join(LEASE_SECONDS)

    async def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._begin_due()
            except RecordsUnavailable as fault:
                log.warning("notifications wait: %s", fault.message)
            except Exception:
                log.exception("notifications: a fault of the service")
            await asyncio.to_thread(self._stopping.wait, LOOK_SECONDS)
        await asyncio.gather(*self._sending)

    async def _begin_due(self) -> None:
        free = AT_ONCE - len(self._sending)
        for each in await asyncio.to_thread(self._notifications.due, free) if free else ():
            sending = asyncio.create_task(self._attempt(each))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _attempt(self, seen: WebhookDelivery) -> None:
        """Send one notification if it is not another worker's, and record what came of it."""
        try:
            error = await self._error_of(seen)
            if error is None:
                await asyncio.to_thread(self._notifications.delivered, seen)
                log_event(log, "notified", task=seen.task, attempt=seen.attempts + 1)
            elif error:
                next_at = _next_at(seen.attempts + 1)
                await asyncio.to_thread(self._notifications.failed, seen, error, next_at)
                log.warning("%s: not notified: %s", seen.task, error)
        except RecordsUnavailable as fault:
            log.warning("%s: its notification waits: %s", seen.task, fault.message)
        except Exception:
            log.exception("%s: its notification: a fault of the service", seen.task)

    async def _error_of(self, seen: WebhookDelivery) -> str | None:
        """Make the attempt: what went wrong, None for nothing, '' when it was another's to make."""
        begun = False
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                until = now() + timedelta(seconds=LEASE_SECONDS)
                begun = await asyncio.to_thread(self._notifications.begin, seen, until)
                told = await asyncio.to_thread(self._told, seen.task) if begun else None
                if told is None:
                    return ""
                await self._send(seen.task, told)
        except TimeoutError:
            return f"no answer within {ATTEMPT_SECONDS:g} s" if begun else ""
        except (DeliveryRefused, OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as fault:
            return (str(fault) or type(fault).__name__)[:ERROR_LIMIT]
        return None

    def _told(self, subject: str) -> Payload | None:
        """What is told of a task or batch; None when it is there no more."""
        if (task := self._tasks.get(subject)) is not None:
            return Payload(task.notify or "", task_ended(task))
        if (batch := self._batches.get(subject)) is not None:
            counts = self._batches.counts([subject]).get(subject, {})
            return Payload(batch.notify or "", batch_ended(batch, counts))
        return None

    async def _send(self, subject: str, told: Payload) -> None:
        """Send a notification; raises Refused, ValueError, OSError or what httpx raises."""
        receiver = self._hosts.receiver(told.address)  # the list may be another one now
        body = json.dumps(told.message, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "resop"}
        headers |= signed(self._key, subject, int(now().timestamp()), body)
        *others, last = await self._addresses(receiver)
        for address in others:
            try:
                return await self._post(address, receiver, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout) as fault:
                log.debug("%s: %s: %s", subject, address, fault)
        return await self._post(last, receiver, headers, body)

    async def _addresses(self, receiver: WebhookHost) -> list[str]:
        """The IP addresses of a host; Refused when one of them is not to be connected to."""
        found = await asyncio.get_running_loop().getaddrinfo(
            receiver.host, receiver.port, type=socket.SOCK_STREAM
        )
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
        for address in addresses:
            if not self._private and not is_public(address):
                raise DeliveryRefused(f"{receiver.host} is {address}, which is no public address")
        return addresses

    async def _post(
        self, address: str, receiver: WebhookHost, headers: dict[str, str], body: bytes
    ) -> None:
        """Send it to the very address that was checked, with the host's own name for TLS."""
        target = receiver.target.encode()
        url = httpx.URL(scheme="https", host=address, port=receiver.port, raw_path=target)
        async with (
            httpx.AsyncClient(
                verify=self._certificates,
                trust_env=False,  # a proxy would resolve the name again
                timeout=httpx.Timeout(ATTEMPT_SECONDS, connect=CONNECT_SECONDS),
            ) as client,
            # A connection of its own, of which only the head of the answer is read.
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
    """What is told of a task: all but its steps and log, and its output only if it is short."""
    output = task.output
    omitted = len(json.dumps(output)) > OUTPUT_LIMIT
    told = {"output": None if omitted else output, "output_omitted": omitted}
    return {
        "type": "task.ended",
        "timestamp": iso_time(task.ended_at),
        "data": {**task_summary(task.model_dump()), "exit_code": task.exit_code, **told},
    }


def batch_ended(batch: Batch, counts: Mapping[State, int]) -> dict[str, Any]:
    """What is told of a batch: how many of its tasks ended how."""
    return {
        "type": "batch.ended",
        "timestamp": iso_time(batch.ended_at),
        "data": batch_summary(batch, counts),
    }


def signed(key: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows who sent a body, when, and whether it had it before."""
    content = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def _next_at(attempts: int) -> datetime | None:
    """When to try again after so many attempts; None when there were enough."""
    if attempts > len(PAUSES):
        return None
    # Not all at the very moment at which a receiver is back.
    return now() + timedelta(seconds=PAUSES[attempts - 1] * random.uniform(1, 1.2))
