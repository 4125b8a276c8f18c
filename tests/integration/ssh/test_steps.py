"""Steps of a session: the same over the runner and over exec channels, except in speed."""

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest
import pytest_asyncio

from resop.errors import StepTimedOut, TaskCancelled
from resop.limits import OUTPUT_LIMIT
from resop.ssh import exec_channel
from resop.ssh.session import Session
from resop.steps.output import RawResult
from resop.steps.quoting import login_shell_line
from resop.steps.step import step_request
from tests.integration.ssh.test_exec_channel import HOSTILE_WORDS, STUBBORN
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.steps import line_step

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

BASH = Account("alice", "alice's password")
TCSH = Account("tom", "tom's password", shell="/usr/bin/tcsh")
FISH = Account("fred", "fred's password", shell="/usr/bin/fish")
DASH = Account("dan", "dan's password", shell="/bin/sh")
NOISY = Account("nora", "nora's password")
NOISY_TCSH = Account("theo", "theo's password", shell="/usr/bin/tcsh")
NO_PYTHON = Account("petra", "petra's password")
OLD_PYTHON = Account("otto", "otto's password")
ACCOUNTS = [BASH, TCSH, FISH, DASH, NOISY, NOISY_TCSH, NO_PYTHON, OLD_PYTHON]

# Functions that are not exported, as `module` is one on many clusters.
RC_FILES = {
    BASH: (".bashrc", "module() { echo loaded $1; }\nexport SITE=here\n"),
    TCSH: (".cshrc", "alias module 'echo loaded \\!:1'\nsetenv SITE here\n"),
    FISH: (
        ".config/fish/config.fish",
        "echo welcome\nset -x SITE here\nfunction module; echo loaded $argv[1]; end\n",
    ),
    NOISY: (
        ".bashrc",
        "echo read >>~/reads; echo welcome; printf 'motd' >&2; sleep 2; export SITE=here\n"
        "module() { echo loaded $1; }\nread -t 0 nothing\nfalse\n",
    ),
    NOISY_TCSH: (".cshrc", "echo welcome\nsetenv SITE here\nalias module 'echo loaded \\!:1'\n"),
    NO_PYTHON: (".bashrc", "PATH=$HOME/bin SITE=here; export SITE; module() { echo loaded $1; }\n"),
    OLD_PYTHON: (
        ".bashrc",
        "PATH=$HOME/old:$PATH SITE=here; export SITE; module() { echo loaded $1; }\n",
    ),
}
LONG = 20.0  # a time limit that is not meant to be reached


@dataclass(frozen=True)
class Way:
    """One account's session, over the runner or over exec channels."""

    server: OpenSSH
    account: Account
    session: Session
    has_runner: bool

    async def run(self, line: str, stdin: bytes | None = None, limit: float = LONG) -> RawResult:
        return await self.session.run(line_step(line, stdin), limit)

    async def program(self, *argv: str, **options: str | dict[str, str]) -> RawResult:
        step = step_request(argv, None, None, **options)  # type: ignore[arg-type]
        return await self.session.run(step, LONG)

    def processes(self) -> list[str]:
        """List the processes of the account, without the runner."""
        found = self.server.processes(self.account.name)
        return [each for each in found if not each.startswith("python3 -I -S")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("steps"), ACCOUNTS) as running:
        for account, (name, text) in RC_FILES.items():
            file = running.home(account.name) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        programs = running.home(NO_PYTHON.name) / "bin"
        programs.mkdir()
        for program in os.listdir("/usr/bin"):
            if not program.startswith("python"):
                (programs / program).symlink_to(f"/usr/bin/{program}")
        old = running.home(OLD_PYTHON.name) / "old" / "python3"
        old.parent.mkdir()
        old.write_text("#!/bin/sh\necho '  File \"<string>\", line 1, SyntaxError' >&2\nexit 1\n")
        old.chmod(0o755)
        yield running


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_channel, "GRACE_SECONDS", 0.2)


def connector(server: OpenSSH, account: Account) -> Callable[..., object]:
    return partial(server.login, account.name)


@contextlib.asynccontextmanager
async def session_of(server: OpenSSH, account: Account, runner: bool) -> AsyncIterator[Way]:
    session = Session(connector(server, account), runner=runner)  # type: ignore[arg-type]
    await session.run(line_step("true"), LONG)
    has_runner = session.allocator.connections[0].runner is not None
    try:
        yield Way(server, account, session, has_runner)
    finally:
        await session.close()


WAYS = [
    pytest.param((account, runner), id=f"{account.name}-{'runner' if runner else 'exec'}")
    for account in ACCOUNTS
    for runner in (True, False)
    if runner or account not in (NO_PYTHON, OLD_PYTHON)
]
WITH_RC_FILE = [each for each in WAYS if DASH not in each.values[0]]  # type: ignore[operator]
QUICK = [each for each in WAYS if NOISY not in each.values[0]]  # type: ignore[operator]
BASHES = [each for each in WAYS if BASH in each.values[0]]  # type: ignore[operator]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def way(server: OpenSSH, request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    account, runner = request.param
    async with session_of(server, account, runner) as made:
        assert made.has_runner == (runner and account not in (NO_PYTHON, OLD_PYTHON))
        yield made


async def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(500):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


on_all_ways = pytest.mark.parametrize("way", WAYS, indirect=True, scope="module")
with_rc_file = pytest.mark.parametrize("way", WITH_RC_FILE, indirect=True, scope="module")
on_quick_ways = pytest.mark.parametrize("way", QUICK, indirect=True, scope="module")
with_bash = pytest.mark.parametrize("way", BASHES, indirect=True, scope="module")


# -- every shell ----------------------------------------------------------------------------


@on_all_ways
async def test_streams_are_separate_and_free_of_output_of_rc_files(way: Way) -> None:
    answer = await way.run("sh -c 'echo out; echo err >&2; exit 3'")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 3)
    assert not answer.truncated
    answer = await way.program("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 3)


@with_rc_file
async def test_definitions_of_rc_files_are_available(way: Way) -> None:
    assert (await way.run("module gcc")).stdout == b"loaded gcc\n"
    assert (await way.program("printenv", "SITE")).stdout == b"here\n"


@on_all_ways
async def test_each_step_has_its_own_folder_and_variables(way: Way) -> None:
    answer = await way.program("sh", "-c", "pwd; echo $A", cwd="/usr/bin", env={"A": "it's $B"})
    assert answer.stdout == b"/usr/bin\nit's $B\n"
    answer = await way.program("sh", "-c", 'pwd; echo "[$A]"')
    assert answer.stdout.decode() == f"{way.account.home}\n[]\n"
    answer = await way.program("pwd", cwd="no such folder")
    assert answer.exit_code != 0
    assert b"no such folder" in answer.stderr


@on_quick_ways
async def test_hostile_words_arrive_literally(way: Way) -> None:
    together = await way.program("printf", "%s\\0", *HOSTILE_WORDS)
    assert together.stdout == b"".join(word.encode() + b"\0" for word in HOSTILE_WORDS)
    assert together.stderr == b""
    line = login_shell_line(["printf", "%s\\0", *HOSTILE_WORDS])
    assert (await way.run(line)).stdout == together.stdout


@on_quick_ways
async def test_missing_program_is_reported_by_the_shell(way: Way) -> None:
    answer = await way.program("no-such-program", "-x")
    assert answer.exit_code in (1, 126, 127)
    assert b"no-such-program" in answer.stderr
    script = way.server.home(way.account.name) / "script"
    script.write_text("echo ran $1\n")  # no #! line: the shell runs it
    script.chmod(0o755)
    if way.account is not FISH:
        assert (await way.program("./script", "it")).stdout == b"ran it\n"


@on_quick_ways
async def test_time_limit_ends_all_processes(way: Way) -> None:
    with pytest.raises(StepTimedOut) as caught:
        await way.run("sh -c 'sleep 300 & sleep 301'", limit=0.3)
    assert caught.value.details["ended"] is True
    assert caught.value.message.endswith("and was ended")
    assert way.processes() == []
    assert (await way.run("echo usable")).stdout == b"usable\n"


async def test_environment_is_the_same_both_ways(server: OpenSSH) -> None:
    for account in (BASH, TCSH, FISH, DASH):
        seen = []
        for runner in (True, False):
            async with session_of(server, account, runner) as way:
                told = (await way.program("env", "-0")).stdout.split(b"\0")
                shell = (await way.run("umask; ulimit -n")).stdout
                # One names the connection, one is the runner's own, one bash sets for each program.
                own = (b"SSH_C", b"RESOP_STEP=", b"_=")
                seen.append((sorted(e for e in told if not e.startswith(own)), shell))
        assert seen[0] == seen[1]


async def test_functions_may_be_larger_than_a_variable(server: OpenSSH) -> None:
    rc_file = server.home(BASH.name) / ".bashrc"
    before = rc_file.read_text()
    many = "".join(f"f{n}() {{ echo 'é{n:01000}'; }}\n" for n in range(300))
    rc_file.write_text(before + many)
    async with session_of(server, BASH, True) as way:
        assert way.has_runner
        answer = await way.run("module gcc; f299; env | grep FUNCTIONS")
        assert answer.stdout.decode() == f"loaded gcc\né{299:01000}\n"
        assert answer.stderr == b""
        assert (await way.program("env")).stdout.count(b"RESOP_STATE") == 0
    rc_file.write_text(before)


async def test_rc_files_of_bash_are_read_once_by_the_runner(server: OpenSSH) -> None:
    reads = server.home(NOISY.name) / "reads"
    reads.unlink(missing_ok=True)
    async with session_of(server, NOISY, True) as way:
        begin = time.monotonic()
        for _ in range(5):
            await way.run("module gcc")
        assert time.monotonic() - begin < 2
    assert reads.read_text() == "read\n"


# -- streams, in bash -----------------------------------------------------------------------


@with_bash
async def test_exit_code_is_the_one_of_the_shell(way: Way) -> None:
    codes = {
        "true": 0,
        "false": 1,
        "exit 255": 255,
        "no-such-program": 127,
        "/etc/passwd": 126,
        "kill -TERM $$": 143,
        "kill -KILL $$": 137,
        "kill -USR1 $$": 138,
        "bash -c 'kill -SEGV $$'; exit $?": 139,
        "kill -PIPE $$": 141,
    }
    assert {line: (await way.run(line)).exit_code for line in codes} == codes


@with_bash
async def test_input_arrives_and_may_be_left_unread(way: Way) -> None:
    data = os.urandom(3 << 20)
    answer = await way.run("cat | sha256sum", data)
    assert answer.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert (await way.run("cat; echo end")).stdout == b"end\n"
    for size in (1, 3 << 20):
        assert (await way.run("exec true", b"x" * size)).exit_code == 0
    assert (await way.run("exec 0<&-; sleep 0.1; echo on", b"x" * size)).stdout == b"on\n"
    assert (await way.run("", b"echo executed\n")).stdout == b""


@with_bash
async def test_output_is_exact_and_truncated_at_its_limit(way: Way) -> None:
    data = bytes(range(256)) * 256
    answer = await way.run("tee /dev/stderr", data)
    assert (answer.stdout, answer.stderr) == (data, data)
    for size, cut in ((OUTPUT_LIMIT, False), (OUTPUT_LIMIT + 1, True)):
        out = await way.run(f"head -c {size} /dev/zero; exit 7")
        err = await way.run(f"head -c {size} /dev/zero >&2; exit 7")
        assert len(out.stdout) == len(err.stderr) == OUTPUT_LIMIT
        assert (out.truncated, err.truncated) == (cut, cut)
        assert (out.exit_code, err.exit_code) == (7, 7)
    answer = await way.session.run(line_step("head -c 100 /dev/zero", max_output=10), LONG)
    assert (answer.stdout, answer.truncated) == (bytes(10), True)


@with_bash
async def test_two_hundred_concurrent_steps_do_not_mix(way: Way) -> None:
    lines = [f"for i in 1 2 3; do echo {number}; done" for number in range(200)]
    answers = await asyncio.gather(*(way.run(line) for line in lines))
    assert [answer.stdout for answer in answers] == [b"%d\n" % n * 3 for n in range(200)]


# -- output as it arrives ---------------------------------------------------------------------


@on_quick_ways
async def test_output_is_passed_on_as_it_arrives_in_order(way: Way) -> None:
    received: list[tuple[int, bytes]] = []
    home = way.server.home(way.account.name)

    def on_output(stream: int, data: bytes) -> None:
        received.append((stream, data))
        (home / f"received-{len(received)}").touch()  # and not before the script continues

    wait = "until [ -e received-$i ]; do sleep 0.02; done; rm -f received-$i"
    script = f"for i in 1 2 3 4; do echo $i >&$((1 + i % 2)); {wait}; done"
    await way.session.run(
        line_step(login_shell_line(["sh", "-c", script])), LONG, on_output=on_output
    )
    assert received == [(2, b"1\n"), (1, b"2\n"), (2, b"3\n"), (1, b"4\n")]


@on_quick_ways
async def test_output_passed_on_is_the_output_of_the_result(way: Way) -> None:
    for size, most in ((300_000, OUTPUT_LIMIT), (300_000, 200_000), (0, 10)):
        received = {1: b"", 2: b""}

        def on_output(stream: int, data: bytes, received: dict[int, bytes] = received) -> None:
            received[stream] += data

        line = login_shell_line(["sh", "-c", f"head -c {size} /dev/urandom | tee /dev/stderr"])
        answer = await way.session.run(line_step(line, max_output=most), LONG, on_output=on_output)
        assert (received[1], received[2]) == (answer.stdout, answer.stderr)
        assert len(answer.stdout) == min(size, most)


# -- ending, in bash ------------------------------------------------------------------------


@with_bash
@pytest.mark.parametrize("line", STUBBORN)
async def test_time_limit_ends_the_whole_group(way: Way, line: str) -> None:
    with pytest.raises(StepTimedOut) as caught:
        await way.run(line, limit=0.3)
    assert way.processes() == []
    assert caught.value.details["ended"] is True


@with_bash
@pytest.mark.parametrize("line", STUBBORN[2:5])
async def test_cancel_ends_the_whole_group(way: Way, line: str) -> None:
    step = asyncio.create_task(way.run(line))
    assert await eventually(lambda: way.processes() != [])
    await asyncio.sleep(0.05)
    for _ in range(3):  # a further one changes nothing
        step.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(TaskCancelled) as caught:
        await step
    assert way.processes() == []
    assert caught.value.details["ended"] is True
    assert (await way.run("echo usable")).stdout == b"usable\n"


@with_bash
async def test_program_is_asked_to_end_before_it_is_killed(way: Way) -> None:
    with pytest.raises(StepTimedOut):
        await way.run(
            "rm -f bye; trap 'echo bye >>bye; exit' TERM; while :; do sleep 0.05; done", limit=0.3
        )
    assert (way.server.home(BASH.name) / "bye").read_text() == "bye\n"


@with_bash
async def test_processes_that_other_steps_left_running_are_spared(way: Way) -> None:
    await way.run("sleep 400 </dev/null >/dev/null 2>&1 &")
    with pytest.raises(StepTimedOut):
        await way.run("sleep 300 & sleep 301", limit=0.3)
    assert way.processes() == ["sleep 400"]
    await way.run("pkill sleep")
