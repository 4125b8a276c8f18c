"""Proves that tests.support.openssh is a faithful server and leaves nothing behind."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest

from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = pytest.mark.timeout(60)

ALICE = Account("alice", "alice's password")
TOM = Account("tom", "tom's password", shell="/usr/bin/tcsh")
FRED = Account("fred", "fred's password", shell="/usr/bin/fish")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("openssh"), [ALICE, TOM, FRED]) as running:
        yield running


@contextlib.contextmanager
def login(
    server: OpenSSH, account: Account = ALICE, *, key: paramiko.PKey | None = None
) -> Iterator[paramiko.SSHClient]:
    """Log in, with the host key verified; by password, or with `key` only."""
    with paramiko.SSHClient() as client:
        client.load_host_keys(str(server.known_hosts))
        client.connect(
            server.host,
            server.port,
            account.name,
            password=None if key else account.password,
            pkey=key,
            allow_agent=False,
            look_for_keys=False,
            timeout=10,
        )
        yield client


def run(client: paramiko.SSHClient, command: str) -> str:
    with client.get_transport().open_session(timeout=10) as channel:  # type: ignore[union-attr]
        channel.exec_command(command)
        return channel.makefile("rb").read().decode()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def processes_in(namespace: str) -> list[str]:
    """Numbers of the processes in a PID namespace, zombies excepted."""
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == namespace:
                found.append(link.parts[2])
    return found


def namespace_of(folder: Path) -> str:
    """Return the PID namespace of the server in `folder`."""
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        with contextlib.suppress(OSError):
            command = (link.parents[1] / "cmdline").read_bytes().split(b"\0")
            if command[0] == b"bash" and os.fsencode(folder) in command:
                return os.readlink(link)
    raise AssertionError(f"no server in {folder}")


@pytest.mark.parametrize("account", [ALICE, TOM, FRED], ids=lambda account: account.shell)
def test_password_login_gets_the_login_shell_and_home(server: OpenSSH, account: Account) -> None:
    with login(server, account) as client:
        assert run(client, "echo $SHELL; pwd; id -u").split() == [
            account.shell,
            str(account.home),
            str(server.uid(account.name)),
        ]


def test_keyboard_interactive_asks_for_the_password(server: OpenSSH) -> None:
    prompts = []

    def answer(title: str, text: str, fields: list[tuple[str, bool]]) -> list[str]:
        prompts.extend(fields)
        return [ALICE.password for _ in fields]

    with paramiko.Transport((server.host, server.port)) as transport:
        transport.start_client(timeout=10)
        transport.auth_interactive(ALICE.name, answer)
        assert transport.is_authenticated()
    assert [prompt for prompt, _ in prompts] == ["Password: "]


def test_wrong_password_is_refused_without_delay(server: OpenSSH) -> None:
    begin = time.monotonic()
    with (
        pytest.raises(paramiko.AuthenticationException),
        login(server, Account(ALICE.name, "wrong")),
    ):
        pass
    assert time.monotonic() - begin < 1.5  # pam_faildelay would make it 2 s or more


def test_key_in_the_home_lets_in_under_strict_modes(server: OpenSSH) -> None:
    key = paramiko.ECDSAKey.generate()
    with pytest.raises(paramiko.AuthenticationException), login(server, TOM, key=key):
        pass
    server.authorize(TOM.name, f"{key.get_name()} {key.get_base64()} a test")
    with login(server, TOM, key=key) as client:
        assert run(client, "whoami") == "tom\n"


def test_home_is_shared_with_the_host_and_tmp_is_not(server: OpenSSH) -> None:
    with login(server) as client:
        run(client, "echo from the session >seen; echo hidden >/tmp/resop-test-hidden")
    assert (server.home(ALICE.name) / "seen").read_text() == "from the session\n"
    assert not Path("/tmp/resop-test-hidden").exists()


def test_asyncssh_runs_commands_and_sftp(server: OpenSSH) -> None:
    async def use() -> tuple[object, int | None]:
        async with (
            asyncssh.connect(
                server.host,
                server.port,
                username=ALICE.name,
                password=ALICE.password,
                known_hosts=str(server.known_hosts),
                client_keys=None,
                agent_path=None,
                config=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            result = await connection.run("echo out; exit 3", stdin=asyncssh.DEVNULL)
            await sftp.mkdir("made")
            return result.stdout, result.exit_status

    assert asyncio.run(use()) == ("out\n", 3)
    assert (server.home(ALICE.name) / "made").is_dir()


def test_two_of_twelve_sessions_exceed_max_sessions(server: OpenSSH) -> None:
    refused = 0
    with login(server) as client, contextlib.ExitStack() as sessions:
        transport = client.get_transport()
        assert transport is not None
        for _ in range(12):
            try:
                sessions.enter_context(transport.open_session(timeout=10))
            except paramiko.ChannelException:
                refused += 1
    assert refused == 2


def test_processes_are_those_of_the_account(server: OpenSSH) -> None:
    with login(server) as client, login(server, FRED):
        client.exec_command("sleep 321")
        assert eventually(lambda: "sleep 321" in " ".join(server.processes(ALICE.name)))
        assert server.processes(FRED.name) == []
        run(client, "pkill sleep")
    assert eventually(lambda: server.processes(ALICE.name) == [])


def test_drop_connections_keeps_the_listener(server: OpenSSH) -> None:
    with login(server) as client:
        server.drop_connections()
        transport = client.get_transport()
        assert eventually(lambda: transport is None or not transport.is_active())
    with login(server) as client:
        assert run(client, "echo again") == "again\n"


def test_restart_cuts_connections_and_spares_detached_commands(server: OpenSSH) -> None:
    with login(server) as client:
        run(client, "setsid sleep 654 </dev/null >/dev/null 2>&1 &")
        server.restart()
        transport = client.get_transport()
        assert eventually(lambda: transport is None or not transport.is_active())
    assert server.processes(ALICE.name) == ["sleep 654"]
    with login(server) as client:
        run(client, "pkill sleep")


def test_client_sees_a_rotated_host_key(server: OpenSSH) -> None:
    with login(server) as client:
        server.rotate_host_key()
        assert run(client, "echo still here") == "still here\n"
    with pytest.raises(paramiko.BadHostKeyException), login(server):
        pass
    server.write_known_hosts()
    with login(server):
        pass


def test_config_replaces_defaults_and_may_have_match_blocks(tmp_path: Path) -> None:
    need(reason_unavailable())
    config = "MaxSessions 1\nMatch User tom\n  AuthenticationMethods publickey\n"
    with OpenSSH(tmp_path, [ALICE, TOM], config=config) as server:
        with login(server) as client:
            transport = client.get_transport()
            assert transport is not None
            with transport.open_session(timeout=10), pytest.raises(paramiko.ChannelException):
                transport.open_session(timeout=10)
        with pytest.raises(paramiko.BadAuthenticationType), login(server, TOM):
            pass


def test_wrong_config_is_reported_with_the_log(tmp_path: Path) -> None:
    need(reason_unavailable())
    with pytest.raises(RuntimeError, match="NoSuchKeyword"):
        OpenSSH(tmp_path, [ALICE], config="NoSuchKeyword yes").start()


def test_host_account_cannot_be_taken(tmp_path: Path) -> None:
    need(reason_unavailable())
    with pytest.raises(ValueError, match="daemon"):
        OpenSSH(tmp_path, [Account("daemon", "any")]).start()


def test_stop_leaves_the_host_as_it_was(tmp_path: Path) -> None:
    need(reason_unavailable())
    watched = [Path("/etc", name) for name in ("passwd", "shadow", "group", "pam.d/sshd")]

    def host() -> tuple[list[str], bool, bool]:
        sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in watched]
        mounted = str(tmp_path) in Path("/proc/self/mountinfo").read_text()
        return sums, mounted, Path("/home/alice").exists()

    before = host()
    with OpenSSH(tmp_path, [ALICE]) as server:
        with login(server) as client:
            run(client, "setsid sh -c 'trap : HUP TERM; sleep 987' >/dev/null 2>&1 &")
        assert eventually(lambda: "sleep 987" in server.processes(ALICE.name))
        assert host() == before
        namespace = namespace_of(tmp_path)
        assert len(processes_in(namespace)) >= 3
    assert processes_in(namespace) == []
    assert server.processes(ALICE.name) == []
    assert host() == before


def test_stopped_server_starts_again_with_its_homes_and_keys(tmp_path: Path) -> None:
    need(reason_unavailable())
    server = OpenSSH(tmp_path, [ALICE])
    for expected in ("line\n", "line\nline\n"):
        with server, login(server) as client:
            assert run(client, "echo line >>file; cat file") == expected


def test_server_ends_with_a_killed_test_process(tmp_path: Path) -> None:
    need(reason_unavailable())
    script = (
        "import pathlib, sys, time; from tests.support.openssh import Account, OpenSSH\n"
        "OpenSSH(pathlib.Path(sys.argv[1]), [Account('alice', 'x')]).start()\n"
        "print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as tests:
        try:
            assert tests.stdout is not None
            assert tests.stdout.readline() == b"up\n"
            namespace = namespace_of(tmp_path)
        finally:
            tests.kill()
    assert eventually(lambda: processes_in(namespace) == [])
