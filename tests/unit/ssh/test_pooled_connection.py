"""Count the uses of a pooled connection, and tell a fault of its runner from an idle end."""

from types import SimpleNamespace
from typing import Any

from resop.ssh.pooled_connection import PooledConnection, Use


def pooled(*, runner: Any = None, closed: bool = False) -> PooledConnection:
    connection: Any = SimpleNamespace(is_closed=lambda: closed)
    return PooledConnection(connection, runner)


def a_runner(*, broken: bool = False, ended_idle: bool = False) -> Any:
    return SimpleNamespace(is_broken=broken, ended_idle=ended_idle, max_steps=3)


def test_channels_are_counted_with_and_without_a_runner() -> None:
    each = pooled(runner=a_runner())
    each.count(Use.STEP, 2)
    each.count(Use.TRANSFER, 1)
    assert (each.channels, each.is_busy) == (2, True)  # that of the runner, and the transfer's
    assert each.has_room(Use.STEP, 1) and not each.has_room(Use.TRANSFER, 2)
    each.count(Use.STEP, 1)
    assert not each.has_room(Use.STEP, 9) and each.has_room(Use.TRANSFER, 3)
    each.runner = None
    assert each.channels == 4
    assert each.has_room(Use.STEP, 5) and not each.has_room(Use.TRANSFER, 4)
    assert not pooled(closed=True).has_room(Use.STEP, 9)


def test_runner_that_ended_while_idle_is_no_fault() -> None:
    # sshd closes idle channels after its ChannelTimeout.
    for runner, closed, fault in [
        (a_runner(broken=True), False, True),
        (a_runner(broken=True, ended_idle=True), False, False),
        (a_runner(broken=True), True, False),
        (a_runner(), False, False),
        (None, False, False),
    ]:
        assert pooled(runner=runner, closed=closed).has_runner_fault is fault
