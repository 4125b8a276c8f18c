"""Durable steps on a real login node: found again over another connection, run once, and no file or
process stays behind."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import asyncssh
import pytest
import pytest_asyncio

from resop.errors import ClusterUnreachable, ContactLost, StepTimedOut, TaskCancelled
from resop.ssh import connection_opener, exec_channel
from resop.ssh.connection_opener import MAX_DROPPED_CONNECTIONS
from resop.ssh.runner.durable_step import (
    DurabilityUnavailable,
    DurableStep,
    NeverStarted,
    StepState,
)
from resop.ssh.runner.remote import spool as remote
from resop.ssh.runner.remote.processes import boot_identity
from resop.ssh.session import Session
from resop.steps.output import RawResult
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.steps import line_step

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

ALICE = Account("alice", "alice's password")
TINA = Account("tina", "tina's password", "/usr/bin/tcsh")
LONG = 20.0  # a time limit that is not meant to be reached


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("surviving"), [ALICE, TINA]) as running:
        (running.home("tina") / ".cshrc").write_text("echo noise\n")
        yield running


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_channel, "GRACE_SECONDS", 0.2)


@pytest_asyncio.fixture(loop_scope="module")
async def session(server: OpenSSH) -> AsyncIterator[Session]:
    new_session = Session(partial(login, server))
    yield new_session
    await new_session.close()
    assert await eventually(lambda: server.processes("alice") == []), server.processes("alice")
    assert folders(server) == []


async def login(server: OpenSSH, user: str = "alice") -> asyncssh.SSHClientConnection:
    try:
        return await server.login(user)
    except OSError as fault:
        raise ClusterUnreachable(str(fault)) from fault


def new() -> DurableStep:
    return DurableStep(f"test-{secrets.token_hex(4)}")


def again(durable: DurableStep) -> DurableStep:
    """Return the step as another worker knows it."""
    return DurableStep(durable.step_id, StepState.MAYBE_SENT)


async def run(session: Session, line: str, durable: DurableStep, stdin: bytes = b"") -> RawResult:
    return await session.run_durable(line_step(line, stdin or None), LONG, durable)


def folders(server: OpenSSH, user: str = "alice") -> list[Path]:
    """List the folders of steps on the node, without the ones that hold only a tombstone."""
    root = server.home(user) / remote.SPOOL_ROOT
    inside: dict[Path, set[str]] = {}
    for folder, _, files in os.walk(root):  # which may go while it is looked at
        inside[Path(folder)] = set(files)
    inside.pop(root, None)
    return [each for each, files in inside.items() if files != {remote.TOMBSTONE}]


def lines(server: OpenSSH, name: str, user: str = "alice") -> list[str]:
    file = server.home(user) / name
    return file.read_text().splitlines() if file.exists() else []


async def eventually(condition: Callable[[], object]) -> bool:
    for _ in range(1000):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


async def forgotten(server: OpenSSH, session: Session, durable: DurableStep) -> bool:
    session.forget(durable)
    return await eventually(lambda: folders(server) == [])


async def test_durable_step_has_the_same_result_as_any_other(
    server: OpenSSH, session: Session
) -> None:
    durable = new()
    answer = await run(session, "cat; echo err >&2; exit 3", durable, b"a secret")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"a secret", b"err\n", 3)
    [folder] = folders(server)
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    assert {file.name for file in folder.iterdir()} == {remote.SPOOL, remote.CONTROL}
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in folder.iterdir())
    assert await forgotten(server, session, durable)


async def test_output_across_a_lost_connection_is_exact_and_the_step_ran_once(
    server: OpenSSH, session: Session
) -> None:
    line = "echo >>once; seq 40000; echo mid >&2; while [ ! -e go ]; do sleep 0.05; done; seq 50000"
    durable = new()
    step = asyncio.create_task(run(session, line, durable))
    assert await eventually(lambda: len(durable.output[1]) > 200_000 and durable.output[2])
    await asyncio.to_thread(server.drop_connections)
    (server.home("alice") / "go").touch()
    answer = await step
    expected = [*range(1, 40001), *range(1, 50001)]
    assert answer.stdout == "".join(f"{number}\n" for number in expected).encode()
    assert (answer.stderr, answer.exit_code, answer.truncated) == (b"mid\n", 0, False)
    assert len(lines(server, "once")) == 1
    assert await forgotten(server, session, durable)


async def test_another_worker_finds_a_step_after_its_end(server: OpenSSH, session: Session) -> None:
    durable = new()
    step = asyncio.create_task(
        run(session, "echo >>found; sleep 0.3; seq 100000 | head -c 600000", durable)
    )
    assert await eventually(lambda: lines(server, "found"))
    durable.hand_off()
    step.cancel()
    await asyncio.wait([step])
    assert step.cancelled()
    await session.close()
    assert await eventually(lambda: len(server.processes("alice")) == 1)  # its supervisor
    answer = await run(session, "echo >>found", again(durable))
    assert answer.stdout == "".join(f"{n}\n" for n in range(1, 100001)).encode()[:600000]
    assert len(lines(server, "found")) == 1
    assert await forgotten(server, session, durable)


async def test_step_that_was_never_started_never_will_be(server: OpenSSH, session: Session) -> None:
    durable = new()
    with pytest.raises(NeverStarted):
        await session.end_durable(again(durable))
    with pytest.raises(NeverStarted):
        await run(session, "echo >>never", durable)
    assert lines(server, "never") == []


async def test_id_of_a_forgotten_step_stays_taken_while_a_start_may_arrive(
    server: OpenSSH, session: Session
) -> None:
    durable = again(new())
    await run(session, "echo >>taken", durable)
    assert await forgotten(server, session, durable)
    with pytest.raises(NeverStarted):
        await run(session, "echo >>taken", again(durable))
    assert len(lines(server, "taken")) == 1


async def test_step_that_is_requested_many_times_runs_once(
    server: OpenSSH, session: Session
) -> None:
    durable, other = new(), Session(partial(login, server))
    line = "echo >>many; sleep 0.2; echo done"
    answers = await asyncio.gather(
        *(
            run(each, line, DurableStep(durable.step_id))
            for each in (session, other)
            for _ in range(10)
        )
    )
    assert {answer.stdout for answer in answers} == {b"done\n"}
    assert len(lines(server, "many")) == 1
    assert await forgotten(server, session, durable)
    await other.close()


@pytest.mark.parametrize("how", ["cancelled", "found and ended", "forgotten"])
async def test_all_processes_of_a_step_that_was_found_again_are_ended(
    server: OpenSSH, session: Session, how: str
) -> None:
    durable = new()
    # One of them leaves session and environment behind.
    line = "trap '' TERM; setsid -f sleep 4100; env -i setsid -f sleep 4103; "
    line += "sleep 4101 & sleep 4102 | cat; :"
    step = asyncio.create_task(run(session, line, durable))
    assert await eventually(lambda: "sleep 4102" in server.processes("alice"))
    await asyncio.to_thread(server.drop_connections)
    if how == "cancelled":
        step.cancel()
        with pytest.raises(TaskCancelled) as caught:
            await step
        assert caught.value.details["ended"] is True
    else:
        durable.hand_off()
        step.cancel()
        await asyncio.wait([step])
    if how == "found and ended":
        with pytest.raises(TaskCancelled) as caught:
            await session.end_durable(again(durable))
        assert caught.value.details["ended"] is True
    if how == "forgotten":
        await session.run(line_step("true"), LONG)
        session.forget(durable)
    assert await eventually(lambda: not any("sleep 410" in p for p in server.processes("alice")))
    assert await forgotten(server, session, durable)


async def test_time_limit_holds_without_a_connection(server: OpenSSH, session: Session) -> None:
    durable = new()
    step = asyncio.create_task(session.run_durable(line_step("sleep 4200"), 1.0, durable))
    assert await eventually(lambda: "sleep 4200" in server.processes("alice"))
    durable.hand_off()
    step.cancel()
    await session.close()
    assert await eventually(lambda: "sleep 4200" not in server.processes("alice"))
    with pytest.raises(StepTimedOut) as caught:
        await run(session, "", again(durable))
    assert caught.value.details["ended"] is True
    assert await forgotten(server, session, durable)


async def test_supervisor_runs_step_after_step_and_ends_without_one(
    server: OpenSSH, session: Session
) -> None:
    supervisors = set()
    for number in range(5):
        durable = new()
        answer = await run(session, f"echo $PPID; cat; exit {number}", durable, b"%d" % number)
        supervisor, _, stdin_read = answer.stdout.partition(b"\n")
        assert (stdin_read, answer.exit_code) == (b"%d" % number, number)
        supervisors.add(supervisor)
        assert await forgotten(server, session, durable)
    assert len(supervisors) < 5
    assert await eventually(lambda: len(server.processes("alice")) == 1)  # the runner


async def test_processes_that_a_step_left_running_do_not_belong_to_a_later_one(
    server: OpenSSH, session: Session
) -> None:
    first, second = new(), new()
    left = await run(session, "sleep 4250 >/dev/null 2>&1 & echo $PPID", first)
    assert await forgotten(server, session, first)
    step = asyncio.create_task(run(session, "echo $PPID; sleep 4251", second))
    assert await eventually(lambda: "sleep 4251" in server.processes("alice"))
    assert await eventually(lambda: second.output[1])
    assert second.output[1] != left.stdout
    step.cancel()
    await asyncio.wait([step])
    assert await eventually(lambda: "sleep 4251" not in server.processes("alice"))
    assert "sleep 4250" in server.processes("alice")
    await session.run(line_step("pkill -x -f 'sleep 4250'"), LONG)
    assert await forgotten(server, session, second)


async def test_killed_supervisor_is_reported(server: OpenSSH, session: Session) -> None:
    durable = new()
    step = asyncio.create_task(run(session, "kill -9 $PPID; sleep 0.1", durable))
    with pytest.raises(ContactLost, match="its supervisor was killed"):
        await step
    assert durable.is_done
    session.forget(durable)
    assert await eventually(lambda: folders(server) == [])


async def test_restarted_login_node_is_reported(server: OpenSSH, session: Session) -> None:
    durable = new()
    step = asyncio.create_task(run(session, "sleep 4300", durable))
    assert await eventually(lambda: "sleep 4300" in server.processes("alice"))
    spool = folders(server)[0] / remote.SPOOL
    text = spool.read_bytes()
    await asyncio.to_thread(server.stop)
    boot = boot_identity().split(b"\n")[1]
    spool.write_bytes(text.replace(boot, b"0" * len(boot)))
    await asyncio.to_thread(server.start)
    with pytest.raises(ContactLost, match="restarted"):
        await step
    assert await forgotten(server, session, durable)


class Breaking:
    """Connects; the first connections break at once."""

    def __init__(self, server: OpenSSH, broken: int) -> None:
        self.server = server
        self.broken = broken
        self.made = 0

    async def __call__(self) -> asyncssh.SSHClientConnection:
        connection = await login(self.server)
        self.made += 1
        if self.made <= self.broken:
            asyncio.get_running_loop().call_soon(connection.abort)
        return connection


async def test_connection_that_breaks_while_its_runner_starts_is_opened_again(
    server: OpenSSH,
) -> None:
    connect = Breaking(server, MAX_DROPPED_CONNECTIONS - 1)
    session = Session(connect)
    durable = new()
    await run(session, "echo >>begun-once", durable)  # which a node without a runner cannot durable
    assert connect.made == MAX_DROPPED_CONNECTIONS and lines(server, "begun-once") == [""]
    assert await forgotten(server, session, durable)
    await session.close()


async def test_node_that_breaks_each_connection_with_a_runner_is_used_without(
    server: OpenSSH,
) -> None:
    connect = Breaking(server, MAX_DROPPED_CONNECTIONS)
    session = Session(connect)
    assert (await session.run(line_step("echo served"), 30)).stdout == b"served\n"
    with pytest.raises(DurabilityUnavailable, match="no runner"):
        await run(session, "true", new())
    assert connect.made == MAX_DROPPED_CONNECTIONS + 1
    await session.close()


async def test_step_is_found_though_its_node_is_used_without_a_runner_for_a_while(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_opener, "DROPPED_RETRY_DELAY", 2.0)
    connect = Breaking(server, 0)
    session, durable = Session(connect), new()
    step = asyncio.create_task(run(session, "echo >>begun-found; echo a; sleep 1; echo b", durable))
    assert await eventually(lambda: b"a\n" in durable.output[1])
    connect.broken = connect.made + MAX_DROPPED_CONNECTIONS
    await asyncio.to_thread(server.drop_connections)
    assert (await step).stdout == b"a\nb\n" and lines(server, "begun-found") == [""]
    assert (
        connect.made == 1 + MAX_DROPPED_CONNECTIONS + 1 + 1
    )  # one without a runner, then one with it again
    assert await forgotten(server, session, durable)
    await session.close()


async def test_home_that_cannot_be_written_makes_no_step_durable(
    server: OpenSSH, session: Session
) -> None:
    root = server.home("alice") / remote.SPOOL_ROOT
    root.rename(root.with_name("aside"))
    root.write_text("in the way")
    with pytest.raises(DurabilityUnavailable, match="nothing was started"):
        await run(session, "echo >>unwritable", new())
    with pytest.raises(ContactLost):
        await run(session, "echo >>unwritable", again(new()))
    assert lines(server, "unwritable") == []
    root.unlink()
    root.with_name("aside").rename(root)


async def test_node_without_a_runner_makes_no_step_durable(server: OpenSSH) -> None:
    session = Session(partial(login, server), runner=False)
    with pytest.raises(DurabilityUnavailable):
        await run(session, "echo >>unwritable", new())
    with pytest.raises(DurabilityUnavailable):
        await run(session, "cat >>unwritable", new(), bytes((1 << 20) + 1))
    await session.close()
    assert lines(server, "unwritable") == []


async def test_folders_that_were_not_touched_for_days_are_removed(
    server: OpenSSH, session: Session
) -> None:
    durable = new()
    await run(session, "echo", durable)
    assert await forgotten(server, session, durable)
    await session.close()
    root = server.home("alice") / remote.SPOOL_ROOT
    old = time.time() - remote.MAX_AGE - 9
    for name, age in (("test-old", old), ("test-name", old), ("test-new", time.time())):
        (root / name).mkdir()
        file = root / name / (remote.TOMBSTONE if name == "test-name" else remote.SPOOL)
        file.touch()
        for path in (file, root / name):
            os.chown(path, server.uid("alice"), server.uid("alice"))
            os.utime(path, (age, age))
    durable = new()
    await run(session, "echo", durable)
    assert {each.name for each in folders(server)} == {"test-new", durable.step_id}
    assert not (root / "test-name").exists()
    session.forget(DurableStep("test-new"))
    assert await forgotten(server, session, durable)


async def test_shell_that_reads_its_rc_file_for_each_line_is_found_again(server: OpenSSH) -> None:
    session, durable = Session(partial(login, server, "tina")), new()
    step = asyncio.create_task(run(session, "echo a; sleep 1; echo b", durable))
    assert await eventually(lambda: b"a\n" in durable.output[1])
    await asyncio.to_thread(server.drop_connections)
    assert (await step).stdout == b"a\nb\n"
    session.forget(durable)
    assert await eventually(lambda: folders(server, "tina") == [])
    await session.close()
