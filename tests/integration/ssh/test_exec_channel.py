"""A command over an SSH channel: its streams, its end, and that no process is left."""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import paramiko
import pytest
import pytest_asyncio
from paramiko.common import OPEN_SUCCEEDED

from resop.errors import ClusterError, ContactLost, StepTimedOut, TaskCancelled
from resop.limits import OUTPUT_LIMIT
from resop.ssh import exec_channel
from resop.ssh.exec_channel import ChannelRefused, run_command_line
from resop.steps.output import RawResult
from resop.steps.quoting import login_shell_line
from tests.support import hostile
from tests.support.hostile import BINARY, HostileSSH, Mode
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = [pytest.mark.timeout(30), pytest.mark.asyncio(loop_scope="module")]

ALICE = Account("alice", "alice's password")
TOM = Account("tom", "tom's password", shell="/usr/bin/tcsh")
FRED = Account("fred", "fred's password", shell="/usr/bin/fish")
NOISY = Account("nora", "nora's password")
ACCOUNTS = [ALICE, TOM, FRED, NOISY]

LONG = 20.0  # a time limit that is not meant to be reached

HOSTILE_WORDS = [
    "; id",
    "$(id)",
    "`id`",
    "a\nb",
    "\n",
    "it's",
    'say "hi"',
    "'\"'\"'",
    "-rf",
    "!",
    "!!",
    "a!b",
    "\\",
    "\\n",
    "a\\",
    "$HOME",
    "~",
    "*",
    "%self",
    "=ls",
    "{a,b}",
    "a\tb",
    "\r",
    "&& id",
    "| id",
    "> file",
    "#",
    "",
    " ",
    "naïve",
    "🐍",
    "\x01\x7f",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("channel"), ACCOUNTS) as running:
        noise = running.home(NOISY.name) / ".bashrc"
        noise.write_text("echo 1234 welcome; echo motd >&2; read -t 0 nothing\n")
        yield running


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_channel, "GRACE_SECONDS", 0.2)


async def login(server: OpenSSH, account: Account = ALICE) -> asyncssh.SSHClientConnection:
    return await server.login(account.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(server: OpenSSH) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """One connection of Alice for all tests: a login takes longer than most of them."""
    async with await login(server) as connection:
        yield connection


@contextlib.asynccontextmanager
async def misbehaving(
    mode: Mode, *, keepalive: float = 0
) -> AsyncIterator[tuple[HostileSSH, asyncssh.SSHClientConnection]]:
    with HostileSSH(mode) as server:
        connection = await asyncssh.connect(
            server.host,
            server.port,
            username="alice",
            password="secret",
            known_hosts=server.known_hosts_line.encode(),
            client_keys=None,
            agent_path=None,
            config=None,
            keepalive_interval=keepalive,
            keepalive_count_max=1,
        )
        try:
            yield server, connection
        finally:
            connection.abort()
            await connection.wait_closed()
            # it joins threads, which may still wait for the loop's sockets to close
            await asyncio.to_thread(server.stop)


async def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


async def run(
    connection: asyncssh.SSHClientConnection, line: str, stdin: bytes | None = None
) -> RawResult:
    return await run_command_line(connection, line, stdin, LONG)


# -- streams and exit codes -----------------------------------------------------------------


async def test_streams_are_separate(shared: asyncssh.SSHClientConnection) -> None:
    answer = await run(shared, "echo out; echo err >&2; exit 3")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 3)
    assert not answer.truncated
    assert 0 < answer.seconds < LONG


async def test_exit_code_is_the_one_of_the_shell(shared: asyncssh.SSHClientConnection) -> None:
    codes = {
        "true": 0,
        "false": 1,
        "exit 255": 255,
        "no-such-program": 127,
        "/etc/passwd": 126,
        "kill -TERM $$": 143,
        "kill -KILL $$": 137,
        "kill -USR1 $$": 138,
        "kill -ALRM $$": 142,
        "bash -c 'kill -SEGV $$'; exit $?": 139,
        "kill -XCPU $$": 128,  # sshd has no name for it
    }
    assert {line: (await run(shared, line)).exit_code for line in codes} == codes


async def test_megabyte_of_input_arrives(shared: asyncssh.SSHClientConnection) -> None:
    data = os.urandom(1 << 20)
    answer = await run(shared, "cat | sha256sum", data)
    assert answer.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


async def test_input_is_closed_when_none_is_given(shared: asyncssh.SSHClientConnection) -> None:
    assert (await run(shared, "cat; echo end")).stdout == b"end\n"


@pytest.mark.parametrize("size", [1, 3 << 20])
async def test_command_may_leave_its_input_unread(
    shared: asyncssh.SSHClientConnection, size: int
) -> None:
    for _ in range(10):  # it may end before, while or after the input is sent
        answer = await run(shared, "exec true", b"x" * size)
        assert answer.exit_code == 0


async def test_empty_line_does_not_run_its_input(shared: asyncssh.SSHClientConnection) -> None:
    answer = await run(shared, "", b"echo executed\n")
    assert (answer.stdout, answer.exit_code) == (b"", 0)


async def test_binary_output_is_exact(shared: asyncssh.SSHClientConnection) -> None:
    data = bytes(range(256)) * 256
    answer = await run(shared, "tee /dev/stderr", data)
    assert (answer.stdout, answer.stderr) == (data, data)
    async with misbehaving(Mode.BINARY_OUTPUT) as (_, other):
        assert (await run(other, "any")).stdout == BINARY


async def test_output_over_the_limit_is_truncated_and_marked(
    shared: asyncssh.SSHClientConnection,
) -> None:
    for size, cut in ((OUTPUT_LIMIT, False), (OUTPUT_LIMIT + 1, True)):
        out = await run(shared, f"head -c {size} /dev/zero; exit 7")
        err = await run(shared, f"head -c {size} /dev/zero >&2; exit 7")
        assert len(out.stdout) == len(err.stderr) == OUTPUT_LIMIT
        assert (out.truncated, err.truncated) == (cut, cut)
        assert (out.exit_code, err.exit_code) == (7, 7)


async def test_concurrent_commands_do_not_mix(shared: asyncssh.SSHClientConnection) -> None:
    lines = [f"for i in $(seq 200); do echo {number}; done" for number in range(9)]
    answers = await asyncio.gather(*(run(shared, line) for line in lines))
    assert [set(answer.stdout.split()) for answer in answers] == [{b"%d" % n} for n in range(9)]


@pytest.mark.parametrize("account", [ALICE, TOM, FRED], ids=lambda account: account.shell)
async def test_hostile_words_arrive_literally(server: OpenSSH, account: Account) -> None:
    async with await login(server, account) as connection:
        one_by_one = [
            (await run(connection, login_shell_line(["printf", "%s\\0", word]))).stdout
            for word in HOSTILE_WORDS
        ]
        together = await run(connection, login_shell_line(["printf", "%s\\0", *HOSTILE_WORDS]))
    expected = [word.encode() + b"\0" for word in HOSTILE_WORDS]
    assert one_by_one == expected
    assert (together.stdout, together.stderr) == (b"".join(expected), b"")


# -- time limit and cancel ------------------------------------------------------------------

STUBBORN = [
    pytest.param("sleep 300", id="one program"),
    pytest.param("sleep 300 & sleep 301", id="a child"),
    pytest.param("trap '' TERM; sleep 300 & sleep 301; sleep 302", id="all ignore TERM"),
    pytest.param("bash -c \"trap '' TERM; sleep 300; true\"; true", id="a child ignores TERM"),
    pytest.param(
        "(trap '' TERM; sleep 300; true) </dev/null >/dev/null 2>&1 & sleep 301",
        id="a child ignores TERM and has no channel",
    ),
    pytest.param("trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.05; done", id="cleans up"),
    pytest.param("yes", id="endless output"),
    pytest.param("cat /dev/zero >&2", id="endless binary on stderr"),
]


@pytest.mark.parametrize("line", STUBBORN)
async def test_time_limit_ends_the_whole_group(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, line: str
) -> None:
    with pytest.raises(StepTimedOut) as caught:
        await run_command_line(shared, line, None, 0.2)
    assert server.processes(ALICE.name) == []
    assert caught.value.details["ended"] is True
    assert caught.value.message == "the step reached its time limit of 0.2 s and was ended"
    assert (await run(shared, "echo usable")).stdout == b"usable\n"


@pytest.mark.parametrize("line", STUBBORN[2:5])
async def test_cancel_ends_the_whole_group(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, line: str
) -> None:
    step = asyncio.create_task(run(shared, line))
    assert await eventually(lambda: server.processes(ALICE.name) != [])
    await asyncio.sleep(0.05)
    step.cancel()
    with pytest.raises(TaskCancelled) as caught:
        await step
    assert server.processes(ALICE.name) == []
    assert caught.value.details["ended"] is True
    assert (await run(shared, "echo usable")).stdout == b"usable\n"


@pytest.mark.parametrize("account", [TOM, FRED, NOISY], ids=lambda account: account.name)
async def test_group_ends_with_every_login_shell(server: OpenSSH, account: Account) -> None:
    line = "sleep 300 & sh -c \"trap '' TERM; sleep 301; true\"; true"
    async with await login(server, account) as connection:
        with pytest.raises(StepTimedOut) as caught:
            await run_command_line(connection, line, None, 0.3)
        assert server.processes(account.name) == []
        assert caught.value.details["ended"] is True


async def test_program_is_asked_to_end_before_it_is_killed(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    with pytest.raises(StepTimedOut):
        await run_command_line(
            shared,
            "trap 'echo bye >bye; exit' TERM; while :; do sleep 0.05; done",
            b"",
            0.3,
        )
    assert (server.home(ALICE.name) / "bye").read_text() == "bye\n"


async def test_steps_that_are_ended_at_the_same_time_all_end(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    line = "bash -c \"trap '' TERM; sleep 300; true\"; true"
    steps = [asyncio.create_task(run(shared, line)) for _ in range(3)]
    bystander = asyncio.create_task(run(shared, "sleep 0.5; echo spared"))
    assert await eventually(lambda: server.processes(ALICE.name).count("sleep 300") == 3)
    for step in steps:
        step.cancel()
    faults = await asyncio.gather(*steps, return_exceptions=True)
    assert [isinstance(each, TaskCancelled) and each.details["ended"] for each in faults] == [
        True
    ] * 3
    assert (await bystander).stdout == b"spared\n"
    assert server.processes(ALICE.name) == []


async def test_processes_that_other_steps_left_running_are_spared(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    await run(shared, "sleep 400 </dev/null >/dev/null 2>&1 &")
    with pytest.raises(StepTimedOut) as caught:
        await run_command_line(shared, "sleep 300 & sleep 301", None, 0.3)
    assert caught.value.details["ended"] is True
    assert server.processes(ALICE.name) == ["sleep 400"]
    await run(shared, "pkill sleep")


async def test_end_that_cannot_be_verified_is_not_claimed(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    with pytest.raises(StepTimedOut) as caught:
        await run_command_line(shared, "sleep 300 & exit 0", None, 0.3)  # sshd forgets the group
    assert caught.value.details["ended"] is False
    assert "could not be verified" in caught.value.message
    assert server.processes(ALICE.name) == ["sleep 300"]
    await run(shared, "pkill sleep")


async def test_group_ends_when_no_further_channel_is_allowed(tmp_path: Path) -> None:
    need(reason_unavailable())
    with OpenSSH(tmp_path, [ALICE], config="MaxSessions 1") as server:
        async with await login(server) as connection:
            with pytest.raises(StepTimedOut) as caught:
                await run_command_line(
                    connection, "bash -c \"trap '' TERM; sleep 300; true\"; true", b"", 0.3
                )
            assert caught.value.details["ended"] is True
            assert server.processes(ALICE.name) == []


async def test_second_cancel_does_not_interrupt_the_end(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    step = asyncio.create_task(run(shared, "trap '' TERM; sleep 300; sleep 301"))
    assert await eventually(lambda: "sleep 300" in server.processes(ALICE.name))
    for _ in range(3):
        step.cancel()
        await asyncio.sleep(0.02)
    with pytest.raises(TaskCancelled) as caught:
        await step
    assert caught.value.details["ended"] is True
    assert server.processes(ALICE.name) == []


async def test_endless_output_takes_no_more_memory_than_its_limit(
    shared: asyncssh.SSHClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[exec_channel.ExecSession] = []

    class Watched(exec_channel.ExecSession):
        received = 0

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            seen.append(self)

        def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
            Watched.received += len(data)
            super().data_received(data, datatype)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    monkeypatch.setattr(exec_channel, "ExecSession", Watched)
    await run(shared, "true")
    before = resident()
    with pytest.raises(StepTimedOut):
        await run_command_line(shared, "yes", None, 0.5)
    assert Watched.received > 4 * OUTPUT_LIMIT
    assert max(len(output) for each in seen for output in each.output.values()) == OUTPUT_LIMIT
    assert resident() - before < 32 << 20


# -- faults ---------------------------------------------------------------------------------


async def test_dropped_connection_is_contact_lost(tmp_path: Path) -> None:
    need(reason_unavailable())
    with OpenSSH(tmp_path, [ALICE]) as server:
        async with await login(server) as connection:
            step = asyncio.create_task(run(connection, "sleep 300"))
            assert await eventually(lambda: "sleep 300" in server.processes(ALICE.name))
            await asyncio.to_thread(server.drop_connections)
            with pytest.raises(ContactLost):
                await step


@pytest.mark.parametrize(
    ("mode", "fault", "sent"),
    [
        (Mode.REFUSE_CHANNELS, ChannelRefused, False),
        (Mode.DROP_AT_OPEN, ChannelRefused, False),
        (Mode.DROP_AT_EXEC, ContactLost, True),
        (Mode.DROP_IN_OUTPUT, ContactLost, True),
        (Mode.NO_EXIT_STATUS, ContactLost, True),
        (Mode.FROZEN, ContactLost, True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_error_says_correctly_whether_the_command_was_sent(
    mode: Mode, fault: type[Exception], sent: bool
) -> None:
    keepalive = 0.2 if mode is Mode.FROZEN else 0
    async with misbehaving(mode, keepalive=keepalive) as (server, connection):
        with pytest.raises(fault) as caught:
            await run_command_line(connection, "any", b"input", LONG)
        assert type(caught.value) is fault
        assert server.commands == (["any"] if sent else [])


async def test_closed_connection_refuses_without_sending() -> None:
    async with misbehaving(Mode.BINARY_OUTPUT) as (server, connection):
        connection.abort()
        with pytest.raises(ChannelRefused):
            await run(connection, "any")
        await connection.wait_closed()
        with pytest.raises(ChannelRefused):
            await run(connection, "any")
        assert server.commands == []


async def test_output_truncated_by_a_drop_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(self: hostile._Session, stream: paramiko.Channel) -> None:
        stream.sendall(hostile.PARTIAL)
        stream.send_exit_status(0)
        hostile._drop(self.connection)

    monkeypatch.setattr(hostile._Session, "_answer", answer)
    async with misbehaving(Mode.BINARY_OUTPUT) as (_, connection):
        with pytest.raises(ContactLost):
            await run(connection, "any")


async def test_refused_command_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile._Session, "check_channel_exec_request", lambda *_: False)
    async with misbehaving(Mode.BINARY_OUTPUT) as (_, connection):
        with pytest.raises(ClusterError, match="refuses to run commands") as caught:
            await run(connection, "any")
        assert type(caught.value) is ClusterError


@pytest.mark.parametrize("mode", [Mode.NO_ANSWER, Mode.FROZEN], ids=lambda mode: mode.name)
@pytest.mark.parametrize("cancelled", [False, True], ids=["time limit", "cancel"])
async def test_server_that_never_answers_is_given_up_in_time(
    mode: Mode, cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_channel, "SCRIPT_TIMEOUT", 0.1)
    begin = time.monotonic()
    async with misbehaving(mode) as (server, connection):
        step = asyncio.create_task(
            run_command_line(connection, "any", None, LONG if cancelled else 0.15)
        )
        assert await eventually(lambda: server.commands == ["any"])
        if cancelled:
            step.cancel()
        with pytest.raises(TaskCancelled if cancelled else StepTimedOut) as caught:
            await step
        assert getattr(caught.value, "details", {})["ended"] is False
        assert time.monotonic() - begin < 5
        assert server.commands[1:] == [] or mode is Mode.NO_ANSWER


@pytest.mark.parametrize("cancelled", [False, True], ids=["time limit", "cancel"])
async def test_channel_that_opens_too_late_is_closed_unused(
    monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    asked, opened = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def open_late(self: hostile._Session, kind: str, number: int) -> int:
        loop.call_soon_threadsafe(asked.set)
        self.server.stopping.wait(0.3)
        opened.append(number)
        return OPEN_SUCCEEDED

    monkeypatch.setattr(hostile._Session, "check_channel_request", open_late)
    async with misbehaving(Mode.BINARY_OUTPUT) as (server, connection):
        step = asyncio.create_task(
            run_command_line(connection, "any", None, LONG if cancelled else 0.1)
        )
        await asked.wait()
        if cancelled:
            step.cancel()
        with pytest.raises(
            TaskCancelled if cancelled else StepTimedOut, match="not sent"
        ) as caught:
            await step
        assert getattr(caught.value, "details", {})["ended"] is True
        assert opened == []
        assert await eventually(lambda: not connection._channels)  # closed by both sides
        assert len(opened) == 1
        assert server.commands == []
