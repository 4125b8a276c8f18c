"""Sessions over real SSH: more commands than channels, connections that come and go."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncssh
import pytest

from resop.config.settings import Settings
from resop.errors import (
    ClusterUnreachable,
    ContactLost,
    KeyRefused,
    ServiceFault,
    StepTimedOut,
    TaskCancelled,
)
from resop.sftp.client import open_sftp
from resop.ssh import channel_allocator, connection_opener, session_pool
from resop.ssh import session as session_module
from resop.ssh.channel_allocator import MAX_CHANNELS
from resop.ssh.connector import Connector
from resop.ssh.exec_channel import ChannelRefused, run_command_line
from resop.ssh.session import Session
from resop.ssh.session_pool import SessionPool
from resop.steps.output import RawResult
from tests.support.hostile import HostileSSH, Mode
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.steps import line_step

pytestmark = pytest.mark.timeout(40)

ALICE = Account("alice", "alice's password")
LONG = 20.0  # a time limit that is not meant to be reached


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("sessions"), [ALICE]) as running:
        yield running


class Counted:
    """Opens connections to `server` and counts them; raises `fault` where there is one."""

    def __init__(self, server: OpenSSH | HostileSSH | None = None) -> None:
        self.made: list[asyncssh.SSHClientConnection] = []
        self.tried = 0
        self.fault: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self._server = server

    async def __call__(self) -> asyncssh.SSHClientConnection:
        self.tried += 1
        await self.go.wait()
        if self.fault is not None:
            raise self.fault
        connection = await self._connect()
        self.made.append(connection)
        return connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        assert self._server is not None
        password = ALICE.password
        if isinstance(self._server, OpenSSH):
            known = str(self._server.known_hosts)
        else:
            _, key = self._server.known_hosts_line.split(maxsplit=1)
            known = asyncssh.import_public_key(key).get_fingerprint()
            password = next(iter(self._server.passwords))
        settings = Settings(
            CLUSTER_ADDRESS=self._server.host,
            CLUSTER_SSH_PORT=self._server.port,
            KNOWN_HOSTS=known,
        )
        connector = Connector(settings)
        return await connector.with_password(settings.cluster(None), ALICE.name, password, None)


@contextlib.asynccontextmanager
async def opened(
    server: OpenSSH | HostileSSH, *, runner: bool = False
) -> AsyncIterator[tuple[Session, Counted]]:
    connect = Counted(server)
    session = Session(connect, runner=runner)
    try:
        yield session, connect
    finally:
        await session.close()
        await asyncio.gather(*(each.wait_closed() for each in connect.made))
        assert nothing_is_left(session)
        assert session.allocator.timer is None


def nothing_is_left(session: Session) -> bool:
    """Return whether no channel is in use, and nobody waits."""
    return not session.allocator.waiting and not any(
        pooled.is_busy for pooled in session.allocator.connections
    )


async def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


async def end(steps: list[asyncio.Task[RawResult]]) -> None:
    for step in steps:
        step.cancel()
    faults = await asyncio.gather(*steps, return_exceptions=True)
    assert all(isinstance(each, TaskCancelled | asyncio.CancelledError) for each in faults), faults


def hold(session: Session, count: int, limit: float = LONG) -> list[asyncio.Task[RawResult]]:
    return [asyncio.create_task(session.run(line_step("sleep 300"), limit)) for _ in range(count)]


# -- many at once ---------------------------------------------------------------------------


async def test_hundred_concurrent_short_commands_all_succeed(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_allocator, "WAIT_TIMEOUT", 2.0)  # a busy machine pauses for 0.2 s
    for _ in range(3):  # a busy sshd frees a channel late: asking too early would fail each time
        logged = len(server.log.read_text())
        async with opened(server) as (session, connect):
            steps = [session.run(line_step(f"echo {number}"), LONG) for number in range(100)]
            answers = await asyncio.gather(*steps)
            assert [answer.stdout for answer in answers] == [b"%d\n" % n for n in range(100)]
            assert connect.tried <= 2  # a handshake costs more than many short steps
        if "no more sessions" not in server.log.read_text()[logged:]:
            return
    raise AssertionError("channels were requested before sshd had freed them, three times")


@pytest.mark.parametrize("allowed", [1, 2])
async def test_commands_succeed_where_fewer_channels_are_allowed(
    tmp_path: Path, allowed: int
) -> None:
    need(reason_unavailable())
    with OpenSSH(tmp_path, [ALICE], config=f"MaxSessions {allowed}") as server:
        async with opened(server) as (session, _):
            steps = [session.run(line_step(f"echo {number}"), LONG) for number in range(100)]
            answers = await asyncio.gather(*steps)
            assert [answer.stdout for answer in answers] == [b"%d\n" % n for n in range(100)]


async def test_refused_channels_are_requested_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(reason_unavailable())
    monkeypatch.setattr(channel_allocator, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(channel_allocator, "CHANNEL_LIMIT_TTL", 2.0)
    with OpenSSH(tmp_path, [ALICE]) as server:

        def running(command: str) -> int:
            return server.processes(ALICE.name).count(command)

        async with opened(server) as (session, connect):
            await session.run(line_step("true"), LONG)
            others = [  # as of steps that were cancelled: taken there, free here
                asyncio.create_task(run_command_line(connect.made[0], "sleep 200", None, LONG))
                for _ in range(8)
            ]
            assert await eventually(lambda: running("sleep 200") == 8)
            steps = hold(session, MAX_CHANNELS)
            assert await eventually(lambda: session.allocator.channel_limit < MAX_CHANNELS)
            await end(others)
            assert await eventually(lambda: running("sleep 300") == MAX_CHANNELS)
            await end(steps)


async def test_long_commands_open_more_connections(server: OpenSSH) -> None:
    async with opened(server) as (session, connect):
        steps = hold(session, 20)
        assert await eventually(lambda: server.processes(ALICE.name).count("sleep 300") == 20)
        assert session.connections == 4  # 20 commands, 6 to a connection
        await end(steps)
        assert nothing_is_left(session)
        assert connect.tried == 4


async def test_connections_and_channels_stay_within_their_limits(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_allocator, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(channel_allocator, "WAIT_TIMEOUT", 0.02)
    async with opened(server) as (session, connect):
        steps = hold(session, 2 * MAX_CHANNELS + 3)
        assert await eventually(
            lambda: server.processes(ALICE.name).count("sleep 300") == 2 * MAX_CHANNELS
        )
        await asyncio.sleep(0.2)  # ten times WAIT_TIMEOUT
        assert connect.tried == 2
        assert server.processes(ALICE.name).count("sleep 300") == 2 * MAX_CHANNELS
        await end(steps)


async def test_cold_start_waits_for_its_first_connection(server: OpenSSH) -> None:
    async with opened(server) as (session, connect):
        connect.go.clear()
        steps = [asyncio.create_task(session.run(line_step("true"), LONG)) for _ in range(50)]
        await asyncio.sleep(0.05)
        assert connect.tried == 1
        connect.go.set()
        await asyncio.gather(*steps)


# -- faults ---------------------------------------------------------------------------------


async def test_server_that_refuses_every_channel_is_an_error_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "RETRY_PAUSE", 0.005)
    with HostileSSH(Mode.REFUSE_CHANNELS) as server:
        async with opened(server) as (session, _):
            begin = time.monotonic()
            steps = [session.run(line_step("any"), LONG) for _ in range(20)]
            faults = await asyncio.gather(*steps, return_exceptions=True)
            assert {type(each) for each in faults} == {ChannelRefused}
            assert time.monotonic() - begin < 5
            assert nothing_is_left(session)
        assert server.commands == []


async def test_server_that_drops_at_every_channel_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "RETRY_PAUSE", 0.005)
    with HostileSSH(Mode.DROP_AT_OPEN) as server:
        async with opened(server) as (session, _):
            steps = [session.run(line_step("any"), LONG) for _ in range(10)]
            faults = await asyncio.gather(*steps, return_exceptions=True)
            assert {type(each) for each in faults} == {ChannelRefused}
        assert server.connections < 10 * session_module.MAX_CHANNEL_REFUSALS
        assert server.commands == []


async def test_step_after_a_drop_connects_again(server: OpenSSH) -> None:
    async with opened(server) as (session, connect):
        await session.run(line_step("true"), LONG)
        server.drop_connections()
        assert await eventually(connect.made[0].is_closed)
        assert (await session.run(line_step("echo again"), LONG)).stdout == b"again\n"
        assert session.connections == 1


async def test_drop_ends_running_steps_and_spares_waiting_ones(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_allocator, "MAX_CONNECTIONS", 1)
    async with opened(server) as (session, _):
        running = hold(session, MAX_CHANNELS)
        assert await eventually(
            lambda: server.processes(ALICE.name).count("sleep 300") == MAX_CHANNELS
        )
        waiting = [
            asyncio.create_task(session.run(line_step("echo later"), LONG)) for _ in range(3)
        ]
        await asyncio.sleep(0)
        await asyncio.to_thread(server.drop_connections)
        faults = await asyncio.gather(*running, return_exceptions=True)
        assert {type(each) for each in faults} == {ContactLost}
        assert [step.stdout for step in await asyncio.gather(*waiting)] == [b"later\n"] * 3
        await session.run(line_step("pkill sleep"), LONG)


async def test_every_waiter_gets_its_own_error_of_a_failed_connect() -> None:
    connect = Counted()
    connect.fault = KeyRefused()
    session = Session(connect)
    faults = await asyncio.gather(
        *(session.run(line_step("any"), LONG) for _ in range(20)), return_exceptions=True
    )
    assert {type(each) for each in faults} == {KeyRefused}
    for number, each in enumerate(faults):  # as the executor does
        assert isinstance(each, KeyRefused)
        assert each.details.setdefault("step", number) == number
    assert len({id(each) for each in faults}) == 20
    assert nothing_is_left(session)


async def test_bug_in_connecting_is_an_error_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    connect = Counted()
    connect.fault = ZeroDivisionError("a mistake")
    session = Session(connect)
    with pytest.raises(ServiceFault):
        await session.run(line_step("any"), LONG)
    assert connect.tried == 1
    assert "a mistake" in caplog.text
    caplog.clear()


async def test_failed_further_connection_is_not_retried_at_once(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_allocator, "WAIT_TIMEOUT", 0.02)
    async with opened(server) as (session, connect):
        held = hold(session, MAX_CHANNELS)
        assert await eventually(
            lambda: server.processes(ALICE.name).count("sleep 300") == MAX_CHANNELS
        )
        connect.fault = KeyRefused()
        waiting = hold(session, 3)
        await asyncio.sleep(0.3)
        assert connect.tried == 2
        assert not any(step.done() for step in waiting)  # they wait for the first connection
        connect.fault = None
        await end(held)
        assert await eventually(lambda: server.processes(ALICE.name).count("sleep 300") == 3)
        await end(waiting)


# -- waiting --------------------------------------------------------------------------------


async def test_time_limit_while_waiting_says_that_nothing_was_sent(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_allocator, "MAX_CONNECTIONS", 1)
    async with opened(server) as (session, _):
        held = hold(session, MAX_CHANNELS)
        assert await eventually(
            lambda: server.processes(ALICE.name).count("sleep 300") == MAX_CHANNELS
        )
        with pytest.raises(StepTimedOut, match=r"within 0\.1 s; the step was not sent") as caught:
            await session.run(line_step("touch never"), 0.1)
        assert caught.value.details["ended"] is True
        assert not session.allocator.waiting
        await end(held)
    assert not (server.home(ALICE.name) / "never").exists()


async def test_time_limit_while_connecting_says_that_nothing_was_sent() -> None:
    connect = Counted()
    connect.go.clear()
    session = Session(connect)
    with pytest.raises(StepTimedOut, match="not sent"):
        await session.run(line_step("any"), 0.05)
    await session.close()
    assert nothing_is_left(session)


async def test_cancelled_waiters_leak_no_channel(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_allocator, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(
        channel_allocator, "CHANNEL_LIMIT_TTL", 1.0
    )  # if some are not closed there yet
    async with opened(server) as (session, _):
        await session.run(line_step("true"), LONG)
        for delay in (0.0, 0.001, 0.002, 0.004, 0.008):  # before, at, and after they get theirs
            steps = [asyncio.create_task(session.run(line_step("true"), LONG)) for _ in range(20)]
            await asyncio.sleep(delay)
            for step in steps[::2]:
                step.cancel()
            answers = await asyncio.gather(*steps, return_exceptions=True)
            assert all(isinstance(each, RawResult) for each in answers[1::2])
        assert sum(pooled.in_use for pooled in session.allocator.connections) == 0
        steps = hold(session, MAX_CHANNELS)
        assert await eventually(
            lambda: server.processes(ALICE.name).count("sleep 300") == MAX_CHANNELS
        )
        await end(steps)


async def test_waiter_cancelled_when_it_gets_its_channel_releases_it(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_allocator, "MAX_CONNECTIONS", 1)
    async with opened(server) as (session, _):
        await session.run(line_step("true"), LONG)
        pooled = session.allocator.connections[0]
        pooled.in_use = MAX_CHANNELS  # as if all were taken
        step = asyncio.create_task(session.run(line_step("true"), LONG))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert session.allocator.waiting == 1
        pooled.in_use = MAX_CHANNELS - 1
        session.allocator._dispatch()  # sets the waiter's result ...
        step.cancel()  # ... and it is cancelled before it runs again
        with pytest.raises(asyncio.CancelledError):
            await step
        assert pooled.in_use == MAX_CHANNELS - 1
        pooled.in_use = 0


async def test_first_come_is_first_served(server: OpenSSH, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_allocator, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(channel_allocator, "MAX_CHANNELS", 1)
    async with opened(server) as (session, _):
        await asyncio.gather(
            *(session.run(line_step(f"echo {number} >>order"), LONG) for number in range(10))
        )
    order = (server.home(ALICE.name) / "order").read_text().split()
    assert order == [str(number) for number in range(10)]


# -- closing --------------------------------------------------------------------------------


async def test_close_raises_in_all_waiters() -> None:
    connect = Counted()
    connect.go.clear()
    session = Session(connect)
    steps = [asyncio.create_task(session.run(line_step("any"), LONG)) for _ in range(3)]
    await asyncio.sleep(0.01)
    await session.close()
    faults = await asyncio.gather(*steps, return_exceptions=True)
    assert {type(each) for each in faults} == {ClusterUnreachable}
    assert nothing_is_left(session)


async def test_retired_connections_close_as_soon_as_nothing_runs_over_them(
    server: OpenSSH,
) -> None:
    async with opened(server) as (session, connect):
        step = asyncio.create_task(session.run(line_step("sleep 1; echo on"), LONG))
        assert await eventually(lambda: session.connections > 0)
        assert await eventually(lambda: any(each.in_use for each in session.allocator.connections))
        await session.retire()
        [used] = connect.made
        assert not used.is_closed(), "its step continues"
        assert (await session.run(line_step("echo new"), LONG)).stdout == b"new\n"
        assert len(connect.made) == 2, "a further step does not use it"
        assert (await step).stdout == b"on\n"
        assert await eventually(used.is_closed)
        await session.retire()
        assert session.connections == 0 and await eventually(connect.made[1].is_closed)


async def test_connection_that_is_opened_when_the_session_is_retired_is_not_used(
    server: OpenSSH,
) -> None:
    async with opened(server) as (session, connect):
        connect.go.clear()
        step = asyncio.create_task(session.run(line_step("echo on"), LONG))
        assert await eventually(lambda: connect.tried == 1)
        await session.retire()
        connect.go.set()
        assert (await step).stdout == b"on\n"
        assert len(connect.made) == 2
        assert await eventually(connect.made[0].is_closed)


async def test_old_connection_is_replaced_and_closed(server: OpenSSH) -> None:
    async with opened(server) as (session, connect):
        await session.run(line_step("true"), LONG)
        held = asyncio.create_task(session.run(line_step("sleep 0.3; echo done"), LONG))
        assert await eventually(lambda: "sleep 0.3" in server.processes(ALICE.name))
        session.allocator.connections[0].expires_at -= connection_opener.CONNECTION_LIFETIME
        assert (await session.run(line_step("echo new"), LONG)).stdout == b"new\n"
        assert connect.tried == 2
        assert (await held).stdout == b"done\n"  # what runs on the old one may end
        await session.close_idle(time.monotonic() - 60)
        assert session.connections == 1
        assert await eventually(connect.made[0].is_closed)


@contextlib.asynccontextmanager
async def pool_of(server: OpenSSH) -> AsyncIterator[tuple[SessionPool, Counted]]:
    pool, connect = SessionPool(), Counted(server)
    try:
        yield pool, connect
    finally:
        await pool.close()
        await asyncio.gather(*(each.wait_closed() for each in connect.made))


async def test_user_has_one_session_on_a_cluster(server: OpenSSH) -> None:
    async with pool_of(server) as (pool, connect):
        one = pool.session("alice", "here", connect)
        assert pool.session("alice", "here", connect) is one
        assert pool.session("alice", "there", connect) is not one
        assert pool.session("bob", "here", connect) is not one
        assert pool.session("alice", "here", connect, 1001) is not one


async def test_session_lives_while_its_connection_is_open(server: OpenSSH) -> None:
    async with pool_of(server) as (pool, connect):
        for _ in range(3):
            await pool.session("alice", "here", connect).run(line_step("true"), LONG)
            gc.collect()
        assert connect.tried == 1


async def test_idle_connections_are_closed_and_their_session_dropped(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pool, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(session_pool, "SWEEP_SECONDS", 0.02)
    async with pool_of(server) as (pool, connect):
        busy = asyncio.create_task(
            pool.session("bob", "here", connect).run(line_step("sleep 0.5; echo done"), LONG)
        )
        await pool.session("alice", "here", connect).run(line_step("true"), LONG)
        assert await eventually(lambda: any(each.is_closed() for each in connect.made))
        assert (await busy).stdout == b"done\n"  # what runs is not idle
        assert await eventually(lambda: all(each.is_closed() for each in connect.made))
        connect.made.clear()
        gc.collect()
        assert not pool._sessions
        assert connect.tried == 2


async def test_task_that_paused_longer_than_the_idle_time_leaves_no_connection(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pool, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(session_pool, "SWEEP_SECONDS", 0.02)
    async with pool_of(server) as (pool, connect):
        session = pool.session("alice", "here", connect)  # a task holds on to it
        await session.run(line_step("true"), LONG)
        assert await eventually(connect.made[0].is_closed)
        await session.run(line_step("true"), LONG)
        assert pool.session("alice", "here", connect) is session
        del session
        assert await eventually(lambda: all(each.is_closed() for each in connect.made))
        assert len(connect.made) == 2


async def test_closed_pool_leaves_no_connection(server: OpenSSH) -> None:
    connect = Counted(server)
    pool = SessionPool()
    users: list[Awaitable[RawResult]] = [
        pool.session(name, "here", connect).run(line_step("true"), LONG) for name in "abc"
    ]
    await asyncio.gather(*users)
    await pool.close()
    assert all(each.is_closed() for each in connect.made)
    assert len(connect.made) == 3


# -- over the runner ------------------------------------------------------------------------


async def test_hundreds_of_concurrent_steps_share_one_connection(server: OpenSSH) -> None:
    async with opened(server, runner=True) as (session, connect):
        steps = [session.run(line_step(f"echo {number}"), LONG) for number in range(500)]
        answers = await asyncio.gather(*steps)
        assert [answer.stdout for answer in answers] == [b"%d\n" % n for n in range(500)]
        assert connect.tried <= 2
        assert session.allocator.connections[0].runner is not None


async def test_steps_beyond_the_limit_of_a_runner_go_to_further_ones(server: OpenSSH) -> None:
    rc_file = server.home(ALICE.name) / ".bashrc"
    rc_file.write_text("ulimit -n 94\n")  # files for ten steps
    async with opened(server, runner=True) as (session, connect):
        steps = hold(session, 25)
        assert await eventually(lambda: server.processes(ALICE.name).count("sleep 300") == 25)
        assert connect.tried == 3
        await end(steps)
    rc_file.unlink()


async def test_transfers_have_their_own_connection(server: OpenSSH) -> None:
    async with opened(server, runner=True) as (session, connect):
        await session.run(line_step("true"), LONG)
        async with open_sftp(session, LONG) as sftp:
            assert await sftp.exists(".")
        assert session.connections == connect.tried == 2
        await session.close_idle(time.monotonic() + 1)
        assert session.connections == 0


async def test_idle_connection_of_transfers_is_closed_without_a_further_step(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pool, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(session_pool, "SWEEP_SECONDS", 0.02)
    async with pool_of(server) as (pool, connect):
        await pool.session("alice", "here", connect).run(line_step("true"), LONG)
        async with open_sftp(pool.session("alice", "here", connect), LONG):
            assert await eventually(connect.made[0].is_closed)
            gc.collect()
        gc.collect()
        assert await eventually(connect.made[1].is_closed)


async def test_runner_works_where_one_channel_is_allowed(tmp_path: Path) -> None:
    need(reason_unavailable())
    with OpenSSH(tmp_path, [ALICE], config="MaxSessions 1") as server:
        async with opened(server, runner=True) as (session, connect):
            await asyncio.gather(*(session.run(line_step("true"), LONG) for _ in range(50)))
            assert connect.tried == 1
            async with open_sftp(session, LONG) as sftp:
                assert await sftp.exists(".")


@pytest.mark.timeout(120)
async def test_hundred_concurrent_users_in_one_worker(tmp_path: Path) -> None:
    need(reason_unavailable())
    users = [Account(f"user{number}", ALICE.password) for number in range(100)]
    with OpenSSH(tmp_path, users) as server:
        settings = Settings(
            CLUSTER_ADDRESS=server.host,
            CLUSTER_SSH_PORT=server.port,
            KNOWN_HOSTS=str(server.known_hosts),
        )
        connector, pool = Connector(settings), SessionPool()

        async def who(user: Account) -> bytes:
            async def connect() -> asyncssh.SSHClientConnection:
                cluster = settings.cluster(None)
                return await connector.with_password(cluster, user.name, user.password, None)

            return (
                await pool.session(user.name, "here", connect).run(line_step("id -un"), 60)
            ).stdout

        answers = await asyncio.gather(*(who(user) for user in users))
        assert answers == [f"{user.name}\n".encode() for user in users]
        await pool.close()
