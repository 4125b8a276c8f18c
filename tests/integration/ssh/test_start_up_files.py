"""Logins, files and the runner on accounts with unusual shells and start-up files."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest

from resop.errors import ClusterError, IdentityUnknown, StepTimedOut
from resop.sftp import client
from resop.sftp.client import open_sftp
from resop.sftp.files import read_file, write_file
from resop.sftp.rights import RightsKeeper
from resop.ssh import home_folder, remote_account
from resop.ssh.authorized_keys import KeyLine, NodeClock, add_line, remove_lines
from resop.ssh.authorized_keys_editor import edit_authorized_keys
from resop.ssh.remote_account import fetch_account
from resop.ssh.runner.client import RunnerClient
from resop.ssh.runner.durable_step import DurableStep
from resop.ssh.session import Session
from resop.steps.step import step_request
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.steps import line_step

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

LONG = 20.0
WORKING = {
    "reads": "read -r answer; echo $answer\n",
    "readsall": "cat\n",
    "background": "sleep 30 &\n",
    "loud": "head -c 204800 /dev/zero; echo; yes motd | head -c 204800 >&2\n",
    "elsewhere": "cd /usr/share; export HOME=/usr\n",
    "tidy": "",
    "pathless": "export PATH=/nowhere\n",
    "strict": "set -euo pipefail; shopt -s failglob\n",
}
"""Start-up files with which `ssh` works, by account."""
READING = ("reads", "readsall")
REFUSED = {
    "exits": ("exit\n", "ends it or replaces it by another shell (exit, exec)"),
    "changes": ("exec fish\n", "ends it or replaces it by another shell (exit, exec)"),
    "maintains": ("echo down until 8; exit 3\n", "ended it; it printed: down until 8"),
    "oversized": (
        "export A=$(head -c 200000 /dev/zero | tr '\\0' x)\n",
        "makes the environment too large for any program",
    ),
    "floods": ("head -c 2097152 /dev/zero\n", "prints more than 1048576 bytes"),
}
SHELL_ACCOUNTS = {
    "nologin": (
        "/usr/sbin/nologin",
        "nologin; it printed: This account is currently not available",
    ),
    "restricted": ("/bin/rbash", "its login shell is restricted, as rbash is"),
    "sftponly": ("/bin/bash", "it may only transfer files (internal-sftp)"),
    "announced": ("/bin/bash", "a forced command ran instead, or"),
}
CONFIG = """MaxStartups 100
Match User sftponly
ForceCommand internal-sftp
Match User announced
ForceCommand echo closed on Mondays
"""
SLOW = Account("slow", "password")
LIMITED = Account("limited", "password")
LATIN = Account("latin", "password")
TCSH = Account("tom", "password", shell="/usr/bin/tcsh")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBpWkvs2vcE2ErADxfAFdZaVtt8hMPKDTVUzzHqq5oBs"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    rc_files = WORKING | {name: rc for name, (rc, _) in REFUSED.items()}
    accounts = [Account(name, "password") for name in rc_files]
    accounts += [Account(name, "password", shell) for name, (shell, _) in SHELL_ACCOUNTS.items()]
    accounts += [SLOW, LIMITED, LATIN, TCSH]
    with OpenSSH(tmp_path_factory.mktemp("rc"), accounts, config=CONFIG) as running:
        for name, rc in rc_files.items():
            (running.home(name) / ".bashrc").write_text(rc)
        yield running


@contextlib.asynccontextmanager
async def session_of(server: OpenSSH, name: str, *, runner: bool) -> AsyncIterator[Session]:
    session = Session(lambda: server.login(name), runner=runner)
    try:
        yield session
    finally:
        await session.close()


# -- logins -----------------------------------------------------------------------------------


async def test_account_is_found_and_its_key_line_added_and_removed(server: OpenSSH) -> None:
    line = KeyLine(KEY, "beef", "1-2", "20990101000000Z")

    def with_line(content: bytes, clock: NodeClock) -> bytes:
        assert abs(clock.now - datetime.now(UTC)) < timedelta(seconds=10)
        return add_line(content, line, clock)

    def without_line(content: bytes, clock: NodeClock) -> bytes:
        return remove_lines(content, {"beef"}, {"1-2"}, clock)

    async def check(name: str) -> None:
        file = server.home(name) / ".ssh" / "authorized_keys"
        server.authorize(name, "ssh-ed25519 AAAA other")
        async with await server.login(name) as connection:
            assert (await fetch_account(connection, "here")).username == name
            await edit_authorized_keys(connection, with_line)
            assert file.read_bytes() == line.render() + b"ssh-ed25519 AAAA other\n"
            await edit_authorized_keys(connection, without_line)
            assert file.read_bytes() == b"ssh-ed25519 AAAA other\n"

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for name in WORKING:
            tasks.create_task(check(name))
    assert time.monotonic() - began < 20  # a process in the background holds up nothing for long


async def test_message_names_why_an_account_runs_no_command(server: OpenSSH) -> None:
    expected = {name: words for name, (_, words) in (REFUSED | SHELL_ACCOUNTS).items()}
    found = {}
    for name in expected:
        async with await server.login(name) as connection:
            with pytest.raises(IdentityUnknown) as caught:
                await fetch_account(connection, "here")
        found[name] = caught.value.message
    assert {name: words in found[name] for name, words in expected.items()} == dict.fromkeys(
        expected, True
    ), found
    assert {text[:63] for text in found.values()} == {
        "the password or key is accepted, but this account ran no comman"
    }


async def test_message_names_start_up_files_that_take_too_long(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_account, "TIME_LIMIT", 0.5)
    (server.home(SLOW.name) / ".bashrc").write_text("sleep 2\n")
    async with await server.login(SLOW.name) as connection:
        with pytest.raises(
            StepTimedOut, match=r"no command within 0.5 s: a start-up file .*bashrc"
        ):
            await fetch_account(connection, "here")


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["the SFTP server", "a shell"])
async def test_files_are_in_the_home_folder_and_keep_their_rights(
    server: OpenSSH, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked == "a shell":  # as for OpenSSH before 8.7

        async def unknown(sftp: asyncssh.SFTPClient, username: str) -> bytes:
            return b""

        monkeypatch.setattr(home_folder, "request_home_folder", unknown)

    async def check(name: str) -> None:
        home = server.home(name)
        (home / "a").write_bytes(b"old")
        (home / "a").chmod(0o640)
        os.chown(home / "a", server.uid(name), server.uid(name))
        async with (
            session_of(server, name, runner=False) as session,
            open_sftp(session, LONG) as sftp,
        ):
            await write_file(sftp, session, b"new", "a", None, True)
            assert (await read_file(sftp, f"/home/{name}/a", 10)).content == b"new"
        assert ((home / "a").read_bytes(), (home / "a").stat().st_mode & 0o777) == (b"new", 0o640)

    async with asyncio.TaskGroup() as tasks:
        for name in set(WORKING) - {"pathless", "background", *READING}:
            tasks.create_task(check(name))


async def test_message_names_start_up_files_that_read_what_is_for_sftp(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "START_TIMEOUT", 1.0)
    for name in READING:
        async with session_of(server, name, runner=False) as session:
            with pytest.raises(ClusterError, match="start-up file read its standard input"):
                async with open_sftp(session, LONG):
                    pass


async def test_start_up_files_that_read_leave_the_rights_of_files_alone(server: OpenSSH) -> None:
    for name, kept in (("reads", [True, True]), ("readsall", [False, False])):
        home, pairs = server.home(name), []
        for number, mode in enumerate((0o640, 0o604)):
            for kind, rights in (("old", mode), ("new", 0o600)):
                (home / f"{kind}{number}").touch()
                (home / f"{kind}{number}").chmod(rights)
                os.chown(home / f"{kind}{number}", server.uid(name), server.uid(name))
            pairs.append([f"/home/{name}/{kind}{number}".encode() for kind in ("old", "new")])
        async with session_of(server, name, runner=False) as session:
            keeper = RightsKeeper(session)
            assert await asyncio.gather(*(keeper.copy(*pair) for pair in pairs)) == kept
        modes = [(home / each).stat().st_mode & 0o777 for each in ("old0", "old1")]
        assert modes == [0o640, 0o604]


async def test_files_work_for_an_account_that_runs_no_command(server: OpenSSH) -> None:
    async with (
        session_of(server, "sftponly", runner=False) as session,
        open_sftp(session, LONG) as sftp,
    ):
        await write_file(sftp, session, b"content", "a", None, True)
    assert (server.home("sftponly") / "a").read_bytes() == b"content"


# -- the runner -------------------------------------------------------------------------------


@pytest.fixture
def latin_home(server: OpenSSH) -> Path:
    """Give an account a locale whose encoding is not UTF-8."""
    source = Path("/usr/share/i18n/locales/de_DE")
    need(None if source.exists() else "the Debian package locales is missing")
    home = server.home(LATIN.name)
    command = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(home / "de_DE.iso88591")]
    subprocess.run(command, check=True)
    (home / ".bashrc").write_text("export LOCPATH=$HOME LC_ALL=de_DE.iso88591\n")
    return home


async def test_path_that_the_locale_cannot_hold_is_no_harm_to_the_runner(
    server: OpenSSH, latin_home: Path
) -> None:
    (latin_home / "日本").mkdir()
    async with session_of(server, LATIN.name, runner=True) as session:
        sleeping = asyncio.create_task(session.run(line_step("sleep 0.5; echo rested"), LONG))
        encoding = await session.run(line_step("locale charmap"), LONG)
        assert encoding.stdout == b"ISO-8859-1\n"
        for cwd, stdout in (("日本", "/home/latin/日本\n"), ("日", "")):
            found = await session.run(step_request(["pwd"], None, None, cwd=cwd), LONG)
            assert found.stdout == stdout.encode()
            assert (found.exit_code == 0) == bool(stdout)
        assert (await sleeping).stdout == b"rested\n"
        assert session.allocator.connections[0].runner is not None


async def test_runner_is_renewed_before_its_cpu_time_ends(server: OpenSSH) -> None:
    (server.home(LIMITED.name) / ".bashrc").write_text("ulimit -t 1\n")
    async with session_of(server, LIMITED.name, runner=True) as session:
        sleeping = asyncio.create_task(session.run(line_step("sleep 4; echo rested"), LONG))
        await session.run(line_step("true"), LONG)
        (pooled,) = session.allocator.connections
        first = pooled.runner
        seen: set[RunnerClient | None] = set()
        began = time.monotonic()
        while len(seen) < 3 and time.monotonic() - began < 30:
            lines = [line_step("head -c 4000000 /dev/zero; ulimit -t")] * 4
            answers = await asyncio.gather(*(session.run(each, LONG) for each in lines))
            assert {each.exit_code for each in answers} == {0}
            seen.add(pooled.runner)
        assert len(seen) == 3 and first in seen
        assert (await sleeping).stdout == b"rested\n"
        assert len(session.allocator.connections) == 1
        assert await eventually_one_runner(server)


async def eventually_one_runner(server: OpenSSH) -> bool:
    for _ in range(100):
        runners = [each for each in server.processes(LIMITED.name) if "-I -S" in each]
        if len(runners) == 1:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_durable_steps_have_the_functions_of_the_shell(server: OpenSSH) -> None:
    file = server.home("tidy") / ".bashrc"
    file.write_text("shopt -s extglob\nmodule() { case $1 in @(load|add)) echo ok;; esac; }\n")
    async with session_of(server, "tidy", runner=True) as session:
        for number in range(3):  # the later ones in the supervisor of the first
            durable = DurableStep(f"test-{number}")
            raw = await session.run_durable(line_step("module add"), LONG, durable)
            assert (raw.stdout, raw.stderr) == (b"ok\n", b"")
            session.forget(durable)
        assert (await session.run(line_step("module load"), LONG)).stdout == b"ok\n"


async def test_longest_command_runs_in_every_shell_as_with_ssh(server: OpenSSH) -> None:
    for name in ("strict", TCSH.name):
        line = f"true {'x' * (131_071 - 13)}; echo 1"
        assert len(line) == 131_071
        for runner in (True, False):
            async with session_of(server, name, runner=runner) as session:
                assert (await session.run(line_step(line), LONG)).stdout == b"1\n"
