"""Publish encrypted messages over Redis pub/sub, from a thread or from an event loop."""

from __future__ import annotations

from collections.abc import Sequence

import redis

from resop.errors import QueueUnavailable
from resop.messaging.messages import Message, encode
from resop.messaging.redis_client import EncryptingRedis, connect
from resop.security.message_encryption import MessageEncryptor


class EventPublisher:
    """Publishes messages from threads, over one Redis client of the process. Blocks."""

    def __init__(self, url: str, keys: Sequence[bytes]) -> None:
        """Set up; `keys` are `Encryptor.message_keys`."""
        self._redis = connect(url)
        self._encryptor = MessageEncryptor(keys)

    def publish(self, *messages: Message) -> None:
        """Publish messages, each on its channel. Raises QueueUnavailable without Redis."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for message in messages:
                    pipeline.publish(message.channel, _encrypted(self._encryptor, message))
                pipeline.execute()
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable from fault

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()


async def publish(client: EncryptingRedis, message: Message) -> None:
    """Publish a message from an event loop. Raises QueueUnavailable without Redis."""
    try:
        await client.publish(message.channel, _encrypted(client.message_encryptor, message))
    except (redis.RedisError, OSError) as fault:
        raise QueueUnavailable from fault


def _encrypted(encryptor: MessageEncryptor, message: Message) -> bytes:
    return encryptor.encrypt(message.channel, encode(message))
