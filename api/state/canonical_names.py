"""Find the one name of an account, where a directory accepts several spellings of it.

What `id` prints comes from the user's own session and can be forged. So the cluster's sshd is asked
instead: the identity is the simplest spelling under which it accepts the login's key. A spelling
that belongs to somebody else, or to nobody, is refused there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from resop.security.login_name import account_part

MAX_REMEMBERED = 10_000


class CanonicalNames:
    """Remembers which spellings are refused, because sshd counts each try as a failed login."""

    def __init__(self) -> None:
        self._refused: set[tuple[str, str]] = set()

    async def find(
        self, cluster: str, name: str, accepts: Callable[[str], Awaitable[bool]]
    ) -> str | None:
        """Return the simplest spelling of `name` that `accepts` is true for; None without one."""
        refused: list[str] = []
        for spelling, kind in _spellings(name):
            if (cluster, kind) in self._refused:
                continue
            if await accepts(spelling):
                self._remember(cluster, refused)
                return spelling
            if spelling != name:
                refused.append(kind)
        return None

    def _remember(self, cluster: str, kinds: list[str]) -> None:
        if len(self._refused) >= MAX_REMEMBERED:
            self._refused.clear()
        self._refused.update((cluster, kind) for kind in kinds)


def _spellings(name: str) -> Iterator[tuple[str, str]]:
    """Yield spellings, the simplest first, each with what its refusal is remembered for."""
    account = account_part(name)
    if account != name:
        # Whether a domain can be left out is the same for all of its accounts.
        yield account.lower(), f"domain {name.replace(account, '')}"
    if name.lower() != name:
        yield name.lower(), f"case {name}"
    yield name, f"name {name}"
