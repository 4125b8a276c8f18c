"""The part of a Subscriber that decides whether this process may trust what it has cached."""

from __future__ import annotations

from typing import Protocol


class Subscription(Protocol):
    """A subscription to the messages of other processes."""

    @property
    def connected(self) -> bool:
        """True only while no message is missed."""


class LastingSubscription(Subscription, Protocol):
    """One that also knows whether the workers can be expected to be subscribed."""

    @property
    def settled(self) -> bool:
        """True if this subscription, and so that of any other live process, has lasted a while."""
