"""The limits of failed logins: what is counted, how many may fail, and what happens then.

A service cannot see whether a password is right before it has asked the cluster. So no limit can
refuse a stranger's passwords and let the owner's through; it can only distinguish where they come
from. Hence:

- A user at an address from which that user has logged in before (a *known* login) has a budget of
  failures that nobody elsewhere can use up, and is slowed down instead of refused: somebody behind
  the same address can make the user wait, but never for longer than LONGEST_PAUSE_SECONDS.
- A client that still has the token of an earlier login of that user has a budget of its own, which
  nobody behind the same address can use up either.
- Everybody else has a small budget for one user at one address, and shares budgets: of the user,
  the address, the cluster and the service. Once these are used up, logins are slowed down and not
  refused, because the owner's may be the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from resop.security.client_group import client_group
from resop.security.login_name import failure_key

LONGEST_PAUSE_SECONDS = 30.0
MAX_ADDRESS_FAILURES = 200
FAILURES_PER_GOOD_USER = 5
"""How much each user who has logged in from an address adds to the failures it may have."""


@dataclass(frozen=True, slots=True)
class LoginLimit:
    """One limit of failed logins."""

    name: str
    """Its name in errors: `limit`."""
    counted: str
    """The logins it counts, in words: "too many failed logins …"."""
    failures: int
    """How many logins may fail at any speed."""
    seconds: int
    """Failures are forgotten this long after the first one."""
    at_once: int | None
    """How many logins may be in progress at once; None leaves that to the queue of handshakes,
    and a few more may then fail."""
    pause: float = 0
    """Seconds between further logins, doubled with each failure; with 0 they are refused."""
    longest_pause: float = LONGEST_PAUSE_SECONDS
    at_once_slowly: int = 1
    """How many logins may be in progress at once when there are pauses."""

    def pause_after(self, failures: int, budget: int) -> float:
        """Return how long after the last of these failures the next login may begin."""
        if failures < budget:
            return 0.0
        return float(min(self.longest_pause, self.pause * 2 ** min(failures - budget, 16)))


PAIR = LoginLimit("user_and_address", "of this user from this address", 5, 60, 5)
KNOWN_PAIR = LoginLimit("user_and_address", "of this user from this address", 5, 600, 5, pause=2)
EARLIER_LOGIN = LoginLimit("earlier_login", "with this earlier token", 5, 600, 5, pause=2)
KNOWN_USER = LoginLimit("user", "of this user", 50, 600, 10, 0.5, 2)
USER = LoginLimit("user", "of this user", 20, 600, 10, pause=2, longest_pause=60)
ADDRESS = LoginLimit("address", "from this address", 20, 600, 6, pause=0.5)
KNOWN_AT_ADDRESS = LoginLimit("address", "from this address", 20, 600, None, 0.5, 2)
CLUSTER = LoginLimit("cluster", "on this cluster", 60, 60, None, 0.25, 0.5, 4)
SERVICE = LoginLimit("service", "in this service", 200, 60, None, 0.1, 0.25, 8)
TOKENS = LoginLimit("address", "with tokens from this address", 20, 60, 6, 0.5, 5)


@dataclass(frozen=True, slots=True)
class Counter:
    """A limit as it applies to one user, address, cluster, or all."""

    limit: LoginLimit
    name: str
    """The user, address, cluster or pair that it counts for."""
    budget: int


@dataclass(frozen=True, slots=True)
class Source:
    """The user name and the client of a login."""

    user: str | None
    """The key of all spellings of one user name; None if a token will name the user."""
    cluster: str
    network: str
    earlier_login: str = ""
    """An earlier login of the user whose token this client holds."""

    @classmethod
    def of(
        cls, username: str | None, cluster: str, address: str, earlier_login: str = ""
    ) -> Source:
        """Return the source of a login under this name, from this address."""
        user = None if username is None else failure_key(username)
        return cls(user, cluster, client_group(address), earlier_login)

    @property
    def pair(self) -> str:
        """The user at this address, as one text."""
        return f"{self.cluster}:{self.user}:{self.network}"


def counters(source: Source, known: bool, good_users: int) -> list[Counter]:
    """Return the counters of a login; `good_users` is how many have logged in from its address."""
    user, cluster, network = source.user, source.cluster, source.network
    more = min(MAX_ADDRESS_FAILURES - ADDRESS.failures, FAILURES_PER_GOOD_USER * good_users)

    def counter(limit: LoginLimit, *parts: str, more: int = 0) -> Counter:
        return Counter(limit, ":".join(parts), limit.failures + more)

    if user is None:
        return [counter(TOKENS, "tokens", network, more=more)]
    if source.earlier_login:
        return [
            counter(EARLIER_LOGIN, "earlier", source.earlier_login),
            counter(KNOWN_USER, "known-user", cluster, user),
        ]
    if known:
        return [
            counter(KNOWN_PAIR, "known", source.pair),
            counter(KNOWN_USER, "known-user", cluster, user),
            counter(KNOWN_AT_ADDRESS, "known-address", network, more=more),
        ]
    return [
        counter(PAIR, "pair", source.pair),
        counter(USER, "user", cluster, user),
        counter(ADDRESS, "address", network, more=more),
        counter(CLUSTER, "cluster", cluster),
        counter(SERVICE, "service"),
    ]
