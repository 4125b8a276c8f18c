"""The TCP connection goes to the first address that answers, and each failure has its name."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from resop.config.settings import Settings
from resop.errors import ClusterMisconfigured, ClusterUnreachable, ResopError
from resop.ssh import connector as connector_module
from resop.ssh import login_client
from resop.ssh.connector import Connector
from resop.ssh.tcp import connect_tcp

pytestmark = pytest.mark.timeout(30)

HERE = "127.0.0.1"


def address(host: str, port: int) -> Any:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))


@contextlib.contextmanager
def silent_address() -> Any:
    """Yield an address that answers nothing, as behind a firewall: its backlog is full."""
    with socket.socket() as full, contextlib.ExitStack() as clients:
        full.bind((HERE, 0))
        full.listen(0)
        for _ in range(4):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield address(*full.getsockname())


@pytest.fixture
def closed() -> Any:
    with socket.socket() as unused:
        unused.bind((HERE, 0))
        return address(*unused.getsockname())


@pytest.fixture
async def open_address() -> AsyncIterator[Any]:
    async with await asyncio.start_server(lambda reader, writer: writer.close(), HERE, 0) as server:
        yield address(*server.sockets[0].getsockname())


async def test_dead_addresses_are_passed_over(open_address: Any, closed: Any) -> None:
    with silent_address() as silent:
        for addresses in (
            [open_address],
            [closed, open_address],
            [silent, open_address],
            [silent, closed, silent, open_address],
        ):
            began = time.monotonic()
            with await connect_tcp(addresses) as connection:
                assert connection.getpeername() == open_address[4]
            assert time.monotonic() - began < 2


async def test_error_is_that_of_the_first_that_failed(closed: Any) -> None:
    with pytest.raises(ConnectionRefusedError):
        await connect_tcp([closed, closed])
    with silent_address() as silent, pytest.raises(TimeoutError):
        await asyncio.wait_for(connect_tcp([silent, closed]), 0.5)


async def fault_of(monkeypatch: pytest.MonkeyPatch, resolving: Any) -> ResopError:
    """Return the error of a login at a host whose name is resolved by `resolving`."""

    async def resolve(host: str, port: int) -> Any:
        if isinstance(resolving, Exception):
            raise resolving
        if resolving is None:
            await asyncio.sleep(60)
        return resolving

    monkeypatch.setattr(connector_module, "resolve", resolve)
    monkeypatch.setattr(login_client, "CONNECT_TIMEOUT", 0.3)
    settings = Settings(CLUSTER_NAME="main", CLUSTER_ADDRESS="login.example", KNOWN_HOSTS="SHA256:")
    with pytest.raises(ResopError) as caught:
        await Connector(settings).with_password(settings.cluster(None), "alice", "any", None)
    assert caught.value.message.startswith("main (login.example:22)")
    return caught.value


async def test_each_failure_of_the_network_has_its_name(
    monkeypatch: pytest.MonkeyPatch, closed: Any
) -> None:
    with silent_address() as silent:
        for resolving, kind, text in [
            (
                socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
                ClusterMisconfigured,
                "there is no host named login.example",
            ),
            (
                socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
                ClusterUnreachable,
                "cannot be resolved at the moment",
            ),
            (None, ClusterUnreachable, "DNS does not answer"),
            ([silent], ClusterUnreachable, "does not answer: it is down, or a firewall"),
            ([closed], ClusterUnreachable, "refuses connections"),
        ]:
            fault = await fault_of(monkeypatch, resolving)
            assert type(fault) is kind
            assert text in fault.message


async def test_server_that_closes_connections_is_tried_again_and_described(
    monkeypatch: pytest.MonkeyPatch, open_address: Any
) -> None:
    # As sshd with TCP wrappers, and as it does beyond its MaxStartups.
    monkeypatch.setattr(connector_module, "RETRY_PAUSE", 0.001)
    fault = await fault_of(monkeypatch, [open_address])
    assert type(fault) is ClusterUnreachable
    assert "closes connections at once: it has too many of them (MaxStartups), or" in fault.message


async def test_further_attempts_begin_with_another_address(
    monkeypatch: pytest.MonkeyPatch, open_address: Any, closed: Any
) -> None:
    # A login node that drops connections, among others: its address is not tried again at once.
    monkeypatch.setattr(connector_module, "RETRY_PAUSE", 0.001)
    monkeypatch.setattr(connector_module, "connect_tcp", note := _Noted())
    await fault_of(monkeypatch, [open_address, closed])
    assert note.first[:4] == [open_address, closed] * 2


class _Noted:
    """Notes which address is tried first."""

    def __init__(self) -> None:
        self.first: list[Any] = []

    async def __call__(self, addresses: list[Any]) -> socket.socket:
        self.first.append(addresses[0])
        return await connect_tcp(addresses)
