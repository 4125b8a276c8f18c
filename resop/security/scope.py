"""The scope of an API key: which actions it may be used for, from which client addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any


@dataclass(frozen=True, slots=True)
class Scope:
    """The limits of an API key, beside those of the policy."""

    read_only: bool = False
    """True if it may run actions that only read, and may change no task."""
    actions: tuple[str, ...] = ("*",)
    """Globs of the actions (`operator:action`) that it may run and whose tasks it may see."""
    addresses: tuple[str, ...] = ()
    """The networks (CIDR) that requests may come from; empty for any."""

    def covers(self, action: str) -> bool:
        """Return True if a glob matches `operator:action`."""
        return any(fnmatchcase(action, glob) for glob in self.actions)

    def allows_address(self, address: str) -> bool:
        """Return True if requests may come from this client address."""
        if not self.addresses:
            return True
        try:
            client = ip_address(address)
        except ValueError:
            return False  # `local`, or whatever a proxy has passed on
        if isinstance(client, IPv6Address) and client.ipv4_mapped:
            client = client.ipv4_mapped
        return any(client in ip_network(network) for network in self.addresses)

    def as_json(self) -> dict[str, Any]:
        """Return the scope as JSON."""
        values = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Scope:
        """Return the scope that `as_json` described. Raises KeyError if a part is missing."""
        return cls(bool(values["read_only"]), tuple(values["actions"]), tuple(values["addresses"]))
