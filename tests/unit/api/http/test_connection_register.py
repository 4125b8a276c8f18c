"""Clients are distinguished by address, and each has a limited number of connections."""

import dataclasses
import resource
from typing import Self

import pytest

from api.http.client_address import TrustedProxies
from api.http.connection_register import ConnectionRegister
from api.http.http_limits import MIN_CONNECTIONS, RESERVED_FILES, HttpLimits
from resop.config.settings import Settings
from resop.errors import LimitReached, ServiceBusy
from resop.security.client_group import client_group

LIMITS = dataclasses.replace(HttpLimits.of(Settings()), connections=10, connections_per_address=3)


@pytest.mark.parametrize(
    "same",
    [
        ["192.0.2.1", "::ffff:192.0.2.1"],
        ["2001:db8::1", "2001:db8::ffff:1:2:3", "2001:0DB8:0:0::9"],
        ["fe80::1%eth0", "fe80::2"],
    ],
)
def test_addresses_of_one_client_are_counted_together(same: list[str]) -> None:
    assert len({client_group(each) for each in same}) == 1


def test_other_clients_are_counted_for_themselves() -> None:
    others = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "local", "", "unknown"]
    assert len({client_group(each) for each in others}) == len(others)


@pytest.mark.parametrize(
    ("text", "trusted", "others"),
    [
        ("", [], ["127.0.0.1", "::1", ""]),
        ("127.0.0.1", ["127.0.0.1"], ["127.0.0.2", "::1", "proxy"]),
        ("10.0.0.0/8, ::1", ["10.1.2.3", "::1"], ["11.0.0.1", "::2"]),
        ("*", ["192.0.2.1", "anything"], []),
        ("no address", [], ["192.0.2.1", "no address"]),
    ],
)
def test_trusted_proxies(text: str, trusted: list[str], others: list[str]) -> None:
    proxies = TrustedProxies(text)
    assert [each in proxies for each in trusted] == [True] * len(trusted)
    assert [each in proxies for each in others] == [False] * len(others)


class Connection:
    """A connection that does nothing but give way."""

    def __init__(self, register: ConnectionRegister, host: str | None) -> None:
        self.register = register
        self.client = register.enter(self, host)
        self.open = True

    def give_way(self) -> None:
        self.close()

    def close(self) -> None:
        self.open = False
        self.register.leave(self, self.client)

    def serve(self) -> Self:
        self.client.serve(self)
        return self


def test_connections_are_counted_by_address_and_in_all() -> None:
    register = ConnectionRegister(LIMITS, "192.0.2.99")
    first, *_ = [Connection(register, "192.0.2.1").serve() for _ in range(3)]
    for same in ("192.0.2.1", "::ffff:192.0.2.1"):
        with pytest.raises(LimitReached):
            Connection(register, same)
    for unlimited in ["192.0.2.99"] * 5 + [None]:
        Connection(register, unlimited).serve()
    last = Connection(register, "192.0.2.2").serve()
    for host in ("192.0.2.3", "192.0.2.99"):
        with pytest.raises(ServiceBusy):
            Connection(register, host)
    first.close()
    Connection(register, "192.0.2.1").serve()
    last.close()
    assert register.count == 9


def test_connection_that_waited_longest_gives_way() -> None:
    register = ConnectionRegister(LIMITS, "")
    first, second, third = (Connection(register, "192.0.2.1") for _ in range(3))
    first.serve()
    first.client.wait(first)  # it waits for a second request
    fourth = Connection(register, "192.0.2.1")
    assert [each.open for each in (first, second, third, fourth)] == [True, False, True, True]
    assert register.count == 3


def test_idle_connections_give_way_only_to_other_clients() -> None:
    limits = dataclasses.replace(LIMITS, connections=4, connections_per_address=3)
    register = ConnectionRegister(limits, "")
    idle = [Connection(register, "192.0.2.1") for _ in range(3)]
    for each in idle:
        each.serve().client.rest(each)
    with pytest.raises(LimitReached):
        Connection(register, "192.0.2.1")
    Connection(register, "192.0.2.2")
    Connection(register, "192.0.2.3")
    assert [each.open for each in idle] == [False, True, True]


def test_client_with_most_connections_gives_way_to_others() -> None:
    limits = dataclasses.replace(LIMITS, connections=6, connections_per_address=5)
    register = ConnectionRegister(limits, "")
    attacker = [Connection(register, "192.0.2.66") for _ in range(5)]
    honest = [Connection(register, f"192.0.2.{number}") for number in range(3)]
    assert all(each.open for each in honest)
    assert [each.open for each in attacker] == [False, False, True, True, True]


def test_what_was_counted_is_forgotten() -> None:
    register = ConnectionRegister(LIMITS, "")
    for number in range(1000):
        Connection(register, f"192.0.2.{number % 250}").close()
    assert not register._clients and not register.count


def test_connections_leave_room_for_other_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(files: int) -> int:
        monkeypatch.setattr("api.http.http_limits.open_files_limit", lambda: files)
        return HttpLimits.of(Settings(CONNECTIONS=2000)).connections

    assert limit(100_000) == 2000
    assert limit(1024) == 1024 - RESERVED_FILES
    assert limit(64) == MIN_CONNECTIONS


def test_no_limit_of_open_files_is_a_high_one(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = resource.RLIM_INFINITY, resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    assert HttpLimits.of(Settings()).connections == Settings().CONNECTIONS
