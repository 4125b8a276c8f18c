"""Send what no part of the service sends: malformed messages over Redis."""

from typing import Any, cast

import redis

from resop.config.settings import Settings
from resop.messaging.messages import KINDS, LoginRequest
from resop.messaging.task_queue import TASK_NAME, celery_app
from resop.security.encryption import Encryptor
from resop.security.message_encryption import MessageEncryptor

ALWAYS_SUBSCRIBED = {kind.CHANNEL.encode() for kind in KINDS if kind is not LoginRequest}
"""The channels that processes subscribe to as long as they run."""


def subscribed_channels(client: redis.Redis) -> set[bytes]:
    """Return the channels that anybody subscribes to."""
    return set(cast("list[bytes]", client.pubsub_channels("resop:*")))


def put_malformed_tasks(settings: Settings) -> None:
    """Put messages with wrong arguments into the queue of tasks."""
    queue = celery_app(settings)
    malformed: list[tuple[list[Any], dict[str, Any]]] = [
        *(([7, {"a": 1}], {}), ([], {"task": "x"}), (["'--"], {}), ([], {}))
    ]
    for arguments, named in malformed:
        queue.send_task(TASK_NAME, arguments, named, queue="cluster.hpc")


def publish_malformed_messages(settings: Settings, client: redis.Redis) -> None:
    """Publish malformed messages on every channel, with and without the service's encryption."""
    encryptor = MessageEncryptor(Encryptor(settings.secret_key()).message_keys)
    for channel in subscribed_channels(client):
        for data in (b"\xff\x00", b"", b"t1 acted ada@hpc {}", b'{"type": "LoggedOut"}', b"[1]"):
            client.publish(channel, data)
            client.publish(channel, encryptor.encrypt(channel.decode(), data))
