"""The runner on a real login node: how it ends steps, that it delays none, how it may break."""

import asyncio
import contextlib
import hashlib
import os
import random
import resource
import signal
import statistics
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterator

import asyncssh
import pytest
import pytest_asyncio

from resop.errors import ContactLost, ResopError, StepTimedOut, TaskCancelled
from resop.ssh import connection_opener, exec_channel
from resop.ssh import session as session_module
from resop.ssh.runner import channel, client
from resop.ssh.runner.client import RunnerClient
from resop.ssh.runner.remote import protocol
from resop.ssh.runner.remote.protocol import frame
from resop.ssh.session import Session
from resop.steps.quoting import DirectExec
from tests.support.hostile import HostileSSH, Mode
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.steps import line_step

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

ALICE = Account("alice", "alice's password")
FAKE = Account("faye", "faye's password")
LONG = 20.0  # a time limit that is not meant to be reached


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("runner"), [ALICE, FAKE]) as running:
        (running.home(FAKE.name) / ".bashrc").write_text("PATH=$HOME:$PATH\n")
        yield running


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_channel, "GRACE_SECONDS", 0.2)


async def login(
    server: OpenSSH | HostileSSH, account: Account = ALICE, *, keepalive: float = 0
) -> asyncssh.SSHClientConnection:
    if isinstance(server, OpenSSH):
        known, password = server.known_hosts.read_bytes(), account.password
    else:
        known, password = server.known_hosts_line.encode(), "secret"
    return await asyncssh.connect(
        server.host,
        server.port,
        username=account.name,
        password=password,
        known_hosts=known,
        client_keys=None,
        agent_path=None,
        config=None,
        keepalive_interval=keepalive,
        keepalive_count_max=1,
    )


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(server: OpenSSH) -> AsyncIterator[RunnerClient]:
    async with await login(server) as connection:
        yield await started(connection)


async def started(connection: asyncssh.SSHClientConnection) -> RunnerClient:
    made = await RunnerClient.start(connection)
    assert made is not None
    return made


def processes(server: OpenSSH, account: Account = ALICE) -> list[str]:
    """List the processes on the node, without the runner."""
    found = server.processes(account.name)
    return [each for each in found if not each.startswith("python3 -I -S")]


async def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


# -- ending ---------------------------------------------------------------------------------

TREES = [
    pytest.param("yes | grep y | cat >/dev/null", id="a pipeline"),
    pytest.param("sleep 300 </dev/null >/dev/null 2>&1 & sleep 301", id="a background child"),
    pytest.param("trap '' TERM; while :; do sleep 0.1; done", id="ignores TERM"),
    pytest.param("seq 100 | xargs -P 8 -n 1 sh -c 'sleep 300; :'", id="xargs -P 8"),
    pytest.param("setsid -f sh -c 'trap \"\" TERM; sleep 300; :'; sleep 301", id="own session"),
    pytest.param("(setsid sh -c 'sleep 300 & sleep 302 &' &) ; sleep 301", id="forks twice"),
    pytest.param("kill -STOP $$", id="is stopped"),
    pytest.param("set -m; sleep 300 & sleep 301 & wait", id="groups of their own"),
    pytest.param("sleep 300 & exit 0", id="its shell has ended"),
]


@pytest.mark.parametrize("line", TREES)
@pytest.mark.parametrize("cancelled", [False, True], ids=["time limit", "cancel"])
async def test_no_process_is_left_and_the_runner_still_answers(
    server: OpenSSH, fresh: RunnerClient, line: str, cancelled: bool
) -> None:
    step = asyncio.create_task(fresh.run(line_step(line), LONG if cancelled else 0.4))
    assert await eventually(lambda: processes(server) != [])
    if cancelled:
        await asyncio.sleep(0.3)  # until all of the line has started
        step.cancel()
    with pytest.raises(TaskCancelled if cancelled else StepTimedOut) as caught:
        await step
    assert processes(server) == []
    assert getattr(caught.value, "details", {})["ended"] is True
    assert (await fresh.run(line_step("echo usable"), LONG)).stdout == b"usable\n"


async def test_slurm_job_on_the_same_machine_is_spared(
    server: OpenSSH, fresh: RunnerClient
) -> None:
    with pytest.raises(StepTimedOut) as caught:
        await fresh.run(line_step("SLURM_JOB_ID=7 setsid -f sleep 400; sleep 300"), 0.4)
    assert caught.value.details["ended"] is True
    assert processes(server) == ["sleep 400"]
    await fresh.run(line_step("pkill sleep"), LONG)


async def test_runner_ends_all_steps_when_its_connection_is_lost(server: OpenSSH) -> None:
    connection = await login(server)
    made = await started(connection)
    await made.run(line_step("sleep 400 </dev/null >/dev/null 2>&1 &"), LONG)  # left on purpose
    lines = ["trap '' TERM; sleep 300; :", "setsid -f sleep 301; sleep 302", "yes >/dev/null"]
    steps = [asyncio.create_task(made.run(line_step(line), LONG)) for line in lines]
    assert await eventually(lambda: len(processes(server)) >= 6)
    await asyncio.to_thread(server.drop_connections)
    faults = await asyncio.gather(*steps, return_exceptions=True)
    assert {type(each) for each in faults} == {ContactLost}
    assert await eventually(lambda: server.processes(ALICE.name) == ["sleep 400"])
    await connection.wait_closed()
    async with await login(server) as again:
        await again.run("pkill sleep", stdin=asyncssh.DEVNULL)


async def test_frozen_node_is_noticed_and_its_steps_end(server: OpenSSH) -> None:
    connection = await login(server, keepalive=0.3)
    made = await started(connection)
    step = asyncio.create_task(made.run(line_step("sleep 300 & sleep 301"), LONG))
    assert await eventually(lambda: len(processes(server)) == 3)
    frozen = [each.pid for each in server._processes() if "sshd: alice" in each.command]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ContactLost):
            await step
        await connection.wait_closed()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert await eventually(lambda: server.processes(ALICE.name) == [])


async def test_runner_ends_when_its_connection_is_closed(server: OpenSSH) -> None:
    # Those of connections that were closed just now may still be going.
    assert await eventually(lambda: not server.processes(ALICE.name))
    async with await login(server) as connection:
        await started(connection)
        assert len(server.processes(ALICE.name)) == 1
    assert await eventually(lambda: not server.processes(ALICE.name))


# -- nobody is delayed ----------------------------------------------------------------------


async def latency(made: RunnerClient, count: int = 100) -> float:
    """Return the 99th percentile of a small command, in seconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        answer = await made.run(line_step("exec echo", program=DirectExec(["echo", "hi"])), LONG)
        times.append(time.perf_counter() - began)
        assert answer.stdout == b"hi\n"
    return statistics.quantiles(times, n=100)[-1]


@pytest.mark.parametrize(
    ("line", "stdin"),
    [
        pytest.param("yes", None, id="prints without end"),
        pytest.param("cat /dev/zero >&2", None, id="prints binary without end"),
        pytest.param("sleep 300", bytes(20 << 20), id="reads nothing"),
        pytest.param(
            "while read -r -N 1000 x; do sleep 0.01; done", b"x" * (20 << 20), id="reads slowly"
        ),
    ],
)
async def test_other_steps_are_not_delayed(
    fresh: RunnerClient, line: str, stdin: bytes | None
) -> None:
    busy = asyncio.create_task(fresh.run(line_step(line, stdin), LONG))
    await asyncio.sleep(0.2)
    assert await latency(fresh) < 0.5  # the machine's other work included
    assert not busy.done()
    busy.cancel()
    with pytest.raises(TaskCancelled):
        await busy


async def test_output_of_a_gibibyte_takes_no_memory(server: OpenSSH, fresh: RunnerClient) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    big = asyncio.create_task(fresh.run(line_step("head -c 1073741824 /dev/zero"), LONG))
    assert await latency(fresh) < 0.5
    answer = await big
    assert (answer.stdout, answer.truncated, answer.exit_code) == (bytes(1 << 20), True, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
    peak = await fresh.run(line_step("grep VmHWM /proc/$PPID/status"), LONG)
    assert int(peak.stdout.split()[1]) < 32 << 10


async def test_large_output_and_input_are_exact(fresh: RunnerClient) -> None:
    data = random.Random(1).randbytes(50 << 20)
    answer = await fresh.run(line_step("cat", data, max_output=len(data)), LONG)
    assert (answer.stdout == data, answer.truncated) == (True, False)
    answer = await fresh.run(line_step("sha256sum", data), LONG)
    assert answer.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


async def test_thousands_of_commands_leave_nothing_behind(fresh: RunnerClient) -> None:
    async def files() -> int:
        return int((await fresh.run(line_step("ls /proc/$PPID/fd | wc -l"), LONG)).stdout)

    before = await files()
    for begin in range(0, 2000, 100):
        numbers = range(begin, begin + 100)
        answers = await asyncio.gather(
            *(
                fresh.run(line_step("", program=DirectExec(["echo", str(number)])), LONG)
                for number in numbers
            )
        )
        assert [int(answer.stdout) for answer in answers] == list(numbers)
    assert await files() < before + 10  # one that has only just ended may still be counted
    assert fresh._requests == {}


# -- it breaks ------------------------------------------------------------------------------


async def test_killed_runner_is_contact_lost_and_the_session_continues(server: OpenSSH) -> None:
    session = Session(lambda: login(server))
    step = asyncio.create_task(session.run(line_step("sleep 300"), LONG))
    assert await eventually(lambda: "sleep 300" in processes(server))
    killed = asyncio.create_task(session.run(line_step("kill -KILL $PPID"), LONG))
    faults = await asyncio.gather(step, killed, return_exceptions=True)
    assert {type(each) for each in faults} == {ContactLost}
    assert (await session.run(line_step("echo again"), LONG)).stdout == b"again\n"
    assert session.allocator.connections[0].runner is not None
    await session.run(line_step("pkill sleep"), LONG)
    await session.close()


SPEAK = "import sys, os, time\nout = sys.stdout.buffer\nmark = sys.argv[-2].encode()\n"
MARK = "out.write(b'\\n' + mark + b'\\n')\nout.flush()\n"
READ = "got = 0\nwhile got < int(sys.argv[-1]): got += len(os.read(0, 1 << 16))\n"
GREETING = frame(65, 0, protocol.HELLO_FIELDS.pack(protocol.VERSION, 10, False, False))
HELLO = f"out.write({GREETING!r})\nout.flush()\n"
STEP = "os.read(0, 1 << 16)\n"
END = "out.flush()\ntime.sleep(60)\n"
BEFORE = {
    "random bytes": "out.write(os.urandom(1 << 16))\n",
    "a huge frame": f"out.write({struct.pack('!BII', 65, 0, 1 << 31)!r})\n",
    "another version": f"out.write({frame(65, 0, struct.pack('!HI??', 9, 1, 0, 0))!r})\n",
    "no room": f"out.write({frame(65, 0, struct.pack('!HI??', protocol.VERSION, 0, 0, 0))!r})\n",
    "a short frame": f"out.write({frame(65, 0, b'x')!r})\n",
    "a frame before its time": f"out.write({frame(66, 1, b'x')!r})\n",
    "silence": "",
    "its end": "sys.exit()\n",
}
AFTER = {
    "random bytes": "out.write(os.urandom(1 << 16))\n",
    "a huge frame": f"out.write({struct.pack('!BII', 66, 1, 1 << 31)!r})\n",
    "a step that nobody began": f"out.write({frame(66, 7, b'x')!r})\n",
    "an unknown type": f"out.write({frame(200, 1, b'x')!r})\n",
    "too much output": f"out.write({frame(66, 1, bytes(30000))!r} * 40)\n",
    "a short end": f"out.write({frame(68, 1, b'x')!r})\n",
    "its end": "sys.exit()\n",
}


FAULTS = [
    *(Mode.REFUSE_CHANNELS, Mode.DROP_AT_OPEN, Mode.DROP_AT_EXEC, Mode.FROZEN, Mode.NO_ANSWER),
    *(Mode.ENDLESS_OUTPUT, Mode.DROP_IN_OUTPUT, Mode.NO_EXIT_STATUS, Mode.BINARY_OUTPUT),
]


def speak(server: OpenSSH, *parts: str) -> None:
    """Make FAKE's python3 a program of these parts."""
    program = server.home(FAKE.name) / "python3"
    program.write_text("#!/usr/bin/python3\n" + SPEAK + "".join(parts))
    program.chmod(0o755)


@pytest.mark.parametrize("said", BEFORE.values(), ids=BEFORE)
async def test_program_that_is_no_runner_is_not_used(
    server: OpenSSH, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "START_TIMEOUT", 1.0)
    speak(server, MARK, READ, said, END)
    session = Session(lambda: login(server, FAKE))
    assert (await session.run(line_step("echo right"), LONG)).stdout == b"right\n"
    assert session.allocator.connections[0].runner is None
    assert (
        session.allocator.opener.runner_retry_at > time.monotonic()
    )  # it is not tried for each connection
    await session.close()


async def test_endless_noise_is_no_runner(server: OpenSSH, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "START_TIMEOUT", 1.0)
    speak(server, "while True: out.write(bytes(1 << 16))\n")
    async with await login(server, FAKE) as connection:
        assert await RunnerClient.start(connection) is None


@pytest.mark.parametrize("said", AFTER.values(), ids=AFTER)
async def test_runner_that_sends_nonsense_is_given_up(server: OpenSSH, said: str) -> None:
    speak(server, MARK, READ, HELLO, STEP, said, END)
    session = Session(lambda: login(server, FAKE))
    for _ in range(connection_opener.MAX_RUNNER_CRASHES):
        with pytest.raises(ContactLost):
            await session.run(line_step("echo wrong"), 5)
    assert (await session.run(line_step("echo right"), LONG)).stdout == b"right\n"
    await session.close()


async def test_runner_that_never_answers_is_given_up_in_time(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_DELAY", 0.1)
    monkeypatch.setattr(client, "KILL_TIMEOUT", 0.1)
    speak(server, MARK, READ, HELLO, "time.sleep(60)\n")
    for cancelled in (False, True):
        async with await login(server, FAKE) as connection:
            made = await started(connection)
            step = asyncio.create_task(made.run(line_step("echo"), LONG if cancelled else 0.2))
            await asyncio.sleep(0.1)
            if cancelled:
                step.cancel()
            with pytest.raises(TaskCancelled if cancelled else StepTimedOut) as caught:
                await step
            assert getattr(caught.value, "details", {})["ended"] is False
            assert made.is_broken


@pytest.mark.parametrize("mode", FAULTS, ids=lambda mode: mode.name)
async def test_hostile_server_is_an_error_in_time(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "START_TIMEOUT", 0.3)
    monkeypatch.setattr(exec_channel, "SCRIPT_TIMEOUT", 0.1)
    monkeypatch.setattr(session_module, "RETRY_PAUSE", 0.005)
    begin = time.monotonic()
    with HostileSSH(mode) as server:
        session = Session(lambda: login(server, keepalive=0.2))
        with contextlib.suppress(ResopError):
            await session.run(line_step("any"), 1.0)
        assert time.monotonic() - begin < 10
        assert not session.allocator.waiting
        await session.close()
