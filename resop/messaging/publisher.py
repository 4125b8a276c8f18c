"""Publish messages over Redis pub/sub, from a thread or from an event loop."""

from __future__ import annotations

import redis
import redis.asyncio

from resop.errors import QueueUnavailable
from resop.messaging.messages import Message, encode

REDIS_TIMEOUT_SECONDS = 5


class EventPublisher:
    """Publishes messages from threads, over one Redis client of the process. Blocks."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
        )

    def publish(self, *messages: Message) -> None:
        """Publish messages, each on its channel. Raises QueueUnavailable without Redis."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for message in messages:
                    pipeline.publish(message.channel, encode(message))
                pipeline.execute()
        except (redis.RedisError, OSError) as fault:
            raise QueueUnavailable from fault

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()


async def publish(client: redis.asyncio.Redis, message: Message) -> None:
    """Publish a message from an event loop. Raises QueueUnavailable without Redis."""
    try:
        await client.publish(message.channel, encode(message))
    except (redis.RedisError, OSError) as fault:
        raise QueueUnavailable from fault
