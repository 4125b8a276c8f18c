"""The demo login node as a real process, seen by paramiko: an SSH client not made by its author."""

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncssh
import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_REQUEST

ROOT = Path(__file__).parents[3]
PASSWORD = "correct horse"
USER = "ada"
MEBIBYTE = 1024 * 1024
PATIENCE = 60.0  # seconds for what takes well under one


class DemoNode:
    """A node in a process of its own; a context manager. Any warning in it is an error here."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.state = folder / "state"
        self.errors = folder / "stderr"

    def command(self) -> list[str]:
        arguments = ["--home", str(self.home), "--state", str(self.state), "--username", USER]
        return [sys.executable, "-W", "error", "-P", "-m", "cli.demo_node", *arguments]

    def __enter__(self) -> Self:
        environ = {**os.environ, "DEMO_PASSWORD": PASSWORD}
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                self.command(), cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=errors
            )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.host, self.port, self.fingerprint = ready["host"], ready["port"], ready["fingerprint"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process.stdout is not None
        self.process.terminate()
        try:
            assert self.process.wait(PATIENCE) == 0
            assert self.process.stdout.read() == b"", "one line on stdout, no more"
            assert self.errors.read_text() == ""
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    @contextlib.contextmanager
    def transport(self) -> Iterator[paramiko.Transport]:
        """Open a connection, without a login."""
        transport = paramiko.Transport((self.host, self.port))
        try:
            transport.start_client(timeout=PATIENCE)
            assert transport.get_remote_server_key().fingerprint == self.fingerprint
            yield transport
        finally:
            transport.close()

    @contextlib.contextmanager
    def login(self) -> Iterator[paramiko.Transport]:
        """Open a connection with a login by password."""
        with self.transport() as transport:
            transport.auth_password(USER, PASSWORD, fallback=False)
            yield transport

    def authorize(self, line: str) -> None:
        folder = self.home / ".ssh"
        folder.mkdir(exist_ok=True)
        (folder / "authorized_keys").write_text(line)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoNode]:
    with DemoNode(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture
def client(node: DemoNode) -> Iterator[paramiko.Transport]:
    with node.login() as transport:
        yield transport


def start(transport: paramiko.Transport, command: str) -> paramiko.Channel:
    channel = transport.open_session(timeout=PATIENCE)
    channel.settimeout(PATIENCE)
    channel.exec_command(command)
    return channel


def finish(channel: paramiko.Channel) -> tuple[int, bytes, bytes]:
    """Exit code (-1: none was reported), stdout and stderr."""
    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.append(channel.makefile_stderr("rb").read()))
    reader.start()
    output = channel.makefile("rb").read()
    reader.join()
    code = channel.recv_exit_status()
    channel.close()
    return code, output, errors[0]


def run(
    transport: paramiko.Transport, command: str, stdin: bytes = b""
) -> tuple[int, bytes, bytes]:
    channel = start(transport, command)

    def send() -> None:
        with contextlib.suppress(OSError):  # the command ended first
            channel.sendall(stdin)
            channel.shutdown_write()

    writer = threading.Thread(target=send)
    writer.start()
    result = finish(channel)
    writer.join()
    return result


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Return True if a process runs; a zombie does not."""
    states = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return states.stdout.strip() not in ("", "Z") and not states.stdout.startswith("Z")


def first_numbers(channel: paramiko.Channel, count: int) -> list[int]:
    """Return the process numbers that a command printed, one per line."""
    reader = channel.makefile("rb")
    return [int(reader.readline()) for _ in range(count)]


# -- login ------------------------------------------------------------------------------------


def test_right_password_logs_in(node: DemoNode) -> None:
    with node.transport() as transport:
        assert transport.auth_password(USER, PASSWORD, fallback=False) == []
        assert transport.is_authenticated()


@pytest.mark.parametrize(("user", "password"), [(USER, "wrong"), (USER, ""), ("eve", PASSWORD)])
def test_wrong_password_or_user_is_refused_after_a_while(
    node: DemoNode, user: str, password: str
) -> None:
    with node.transport() as transport:
        began = time.monotonic()
        with pytest.raises(paramiko.AuthenticationException):
            transport.auth_password(user, password, fallback=False)
        assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("answer", [PASSWORD, "wrong"])
def test_keyboard_interactive_asks_for_the_password_alone(node: DemoNode, answer: str) -> None:
    asked: list[list[tuple[str, bool]]] = []

    def answers(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        asked.append(prompts)
        return [answer]

    with node.transport() as transport:
        if answer == PASSWORD:
            transport.auth_interactive(USER, answers)
        else:
            with pytest.raises(paramiko.AuthenticationException):
                transport.auth_interactive(USER, answers)
    assert asked == [[("Password:", False)]]


def stamp(form: str, ahead: timedelta, *, utc: bool = False) -> str:
    return (datetime.now(UTC if utc else None) + ahead).strftime(form)


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ACCEPTED = {
    "plain": "",
    "restrict": "restrict ",
    "restrict and seconds": f'restrict,expiry-time="{stamp("%Y%m%d%H%M%S", HOUR)}" ',
    "minutes": f'expiry-time="{stamp("%Y%m%d%H%M", HOUR)}" ',
    "a date": f'expiry-time="{stamp("%Y%m%d", 2 * DAY)}" ',
    "UTC": f'expiry-time="{stamp("%Y%m%d%H%M%SZ", HOUR, utc=True)}" ',
}
REFUSED = {
    "seconds": f'restrict,expiry-time="{stamp("%Y%m%d%H%M%S", -HOUR)}" ',
    "minutes": f'expiry-time="{stamp("%Y%m%d%H%M", -HOUR)}" ',
    "a date": f'expiry-time="{stamp("%Y%m%d", -DAY)}" ',
    "UTC": f'expiry-time="{stamp("%Y%m%d%H%M%SZ", -HOUR, utc=True)}" ',
    "unreadable": 'expiry-time="tomorrow" ',
    "no value": "expiry-time ",
    "one of two": f'expiry-time="20990101",expiry-time="{stamp("%Y%m%d", -DAY)}" ',
}


@pytest.fixture(scope="module")
def key() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


@pytest.mark.parametrize("options", ACCEPTED.values(), ids=ACCEPTED)
def test_key_logs_in(node: DemoNode, key: paramiko.PKey, options: str) -> None:
    node.authorize(f"# a comment\n\n{options}{key.get_name()} {key.get_base64()} ada's\n")
    with node.transport() as transport:
        transport.auth_publickey(USER, key)
        assert run(transport, "echo hi") == (0, b"hi\n", b"")


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED)
def test_expired_key_is_refused(node: DemoNode, key: paramiko.PKey, options: str) -> None:
    node.authorize(f"{options}{key.get_name()} {key.get_base64()}\n")
    with node.transport() as transport, pytest.raises(paramiko.AuthenticationException):
        transport.auth_publickey(USER, key)


def test_expired_or_broken_line_does_not_hide_a_good_one(
    node: DemoNode, key: paramiko.PKey
) -> None:
    public = f"{key.get_name()} {key.get_base64()}"
    lines = ['command="unbalanced ssh-rsa AAAA', f'expiry-time="20200101" {public}', public]
    node.authorize("\n".join(lines))
    with node.transport() as transport:
        transport.auth_publickey(USER, key)


def test_key_line_taken_off_ends_its_logins(node: DemoNode, key: paramiko.PKey) -> None:
    node.authorize("")
    with node.transport() as transport, pytest.raises(paramiko.AuthenticationException):
        transport.auth_publickey(USER, key)


def test_too_many_connections_without_login_are_dropped(tmp_path: Path) -> None:
    with DemoNode(tmp_path) as node, node.login() as transport, contextlib.ExitStack() as stack:
        for _ in range(100):
            waiting = socket.create_connection((node.host, node.port), PATIENCE)
            stack.enter_context(waiting)
            assert waiting.recv(4) == b"SSH-"
        with socket.create_connection((node.host, node.port), PATIENCE) as surplus:
            assert surplus.recv(4) == b""
        assert run(transport, "echo hi")[1] == b"hi\n"
        stack.close()
        until(lambda: can_log_in(node))


def can_log_in(node: DemoNode) -> bool:
    try:
        with node.login():
            return True
    except (EOFError, paramiko.SSHException):
        return False


# -- commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_streams_are_separate_and_the_exit_code_is_reported(
    client: paramiko.Transport, code: int
) -> None:
    command = f"cat; echo out; echo err >&2; exit {code}"
    assert run(client, command, b"in\n\x00\xff") == (code, b"in\n\x00\xffout\n", b"err\n")


def test_stderr_goes_on_after_stdout_was_closed(client: paramiko.Transport) -> None:
    command = "echo out; exec 1>&-; sleep 0.3; echo err >&2; exit 3"
    assert run(client, command) == (3, b"out\n", b"err\n")


def test_command_begins_in_the_home_with_a_small_environment(
    node: DemoNode, client: paramiko.Transport
) -> None:
    code, output, _ = run(client, "pwd -P; env; echo $0")
    lines = output.decode().splitlines()
    assert (code, lines[0], lines[-1]) == (0, str(node.home.resolve()), "bash")
    environ = dict(line.split("=", 1) for line in lines[1:-1])
    assert environ["HOME"] == str(node.home)
    assert environ["USER"] == environ["LOGNAME"] == USER
    assert environ["SSH_CONNECTION"].endswith(f" {node.host} {node.port}")
    assert PASSWORD not in output.decode()
    shells_own = {"PWD", "OLDPWD", "SHLVL", "_"}
    sshds = {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "SSH_CLIENT", "SSH_CONNECTION"}
    assert environ.keys() - shells_own == sshds


def test_command_runs_in_a_session_of_its_own(client: paramiko.Transport) -> None:
    code, output, _ = run(client, "echo $$; ps -o pgid= -p $$; ps -o pgid= -p $PPID")
    own, group, nodes = map(int, output.split())
    assert code == 0
    assert own == group != nodes


def test_ten_mebibytes_come_back_byte_by_byte(client: paramiko.Transport) -> None:
    data = random.Random(1).randbytes(10 * MEBIBYTE)
    code, output, errors = run(client, "cat", data)
    assert (code, errors) == (0, b"")
    assert hashlib.sha256(output).digest() == hashlib.sha256(data).digest()


def test_ten_mebibytes_are_printed_on_both_streams(client: paramiko.Transport) -> None:
    command = f"head -c {10 * MEBIBYTE} /dev/zero >&2; head -c {10 * MEBIBYTE} /dev/zero; exit 5"
    code, output, errors = run(client, command)
    assert (code, len(output), len(errors)) == (5, 10 * MEBIBYTE, 10 * MEBIBYTE)


@pytest.mark.parametrize("command", ["exit 4", "exec 0<&-; sleep 0.5; exit 4"])
def test_input_that_nobody_reads_is_dropped(client: paramiko.Transport, command: str) -> None:
    assert run(client, command, bytes(10 * MEBIBYTE)) == (4, b"", b"")


def test_output_that_nobody_takes_stops_the_command(
    node: DemoNode, client: paramiko.Transport
) -> None:
    channel = start(client, f"head -c {50 * MEBIBYTE} /dev/zero; touch written")
    time.sleep(1)
    assert not (node.home / "written").exists()
    assert len(channel.makefile("rb").read()) == 50 * MEBIBYTE
    until((node.home / "written").exists)


def test_background_process_with_our_stdout_keeps_the_channel_open(
    client: paramiko.Transport,
) -> None:
    channel = start(client, "(sleep 1; echo late) & exit 6")
    assert channel.recv_exit_status() == 6
    assert not channel.closed
    assert finish(channel)[1] == b"late\n"


def test_shell_without_a_command_reads_its_input(client: paramiko.Transport) -> None:
    channel = client.open_session()
    channel.invoke_shell()
    channel.sendall(b"echo shell; exit 3\n")
    code, output, _ = finish(channel)
    assert (code, output) == (3, b"shell\n")


def test_terminal_is_refused(client: paramiko.Transport) -> None:
    with client.open_session() as channel, pytest.raises(paramiko.SSHException):
        channel.get_pty()


def test_command_with_a_nul_fails_alone(client: paramiko.Transport) -> None:
    code, output, errors = run(client, "echo \0")
    assert (code, output) == (1, b"")
    assert b"null byte" in errors
    assert run(client, "echo hi")[0] == 0


def test_home_that_is_missing_fails_the_command_alone(tmp_path: Path) -> None:
    with DemoNode(tmp_path) as node, node.login() as transport:
        node.home.rename(tmp_path / "elsewhere")
        code, output, errors = run(transport, "echo hi")
        assert (code, output) == (1, b"")
        assert b"No such file or directory" in errors
        (tmp_path / "elsewhere").rename(node.home)
        assert run(transport, "echo hi")[1] == b"hi\n"


async def test_death_by_signal_is_reported_by_name(node: DemoNode) -> None:
    # by asyncssh, since paramiko does not read this report
    host_key = asyncssh.read_private_key(node.state / "host_key").convert_to_public()
    async with asyncssh.connect(
        node.host,
        node.port,
        username=USER,
        password=PASSWORD,
        known_hosts=([host_key], [], []),
        config=None,
    ) as connection:
        result = await connection.run("kill -USR1 $$")
    assert result.exit_signal is not None
    assert result.exit_signal[0] == "USR1"


# -- the end of commands ----------------------------------------------------------------------


def send_signal(channel: paramiko.Channel, name: str) -> None:
    """RFC 4254, 6.9; paramiko has no method for it."""
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("signal")
    message.add_boolean(False)
    message.add_string(name)
    channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]


def test_signal_reaches_the_whole_group(client: paramiko.Transport) -> None:
    trapped = "trap 'echo got $0; exit 9' USR1; echo $$; while :; do sleep 0.05; done"
    channel = start(client, f'bash -c "{trapped.replace("$", chr(92) + "$")}" child & {trapped}')
    first_numbers(channel, 2)
    send_signal(channel, "no such signal")
    send_signal(channel, "USR1")
    code, output, _ = finish(channel)
    assert code == 9
    assert sorted(output.split()) == [b"bash", b"child", b"got", b"got"]


def test_signal_does_not_queue_behind_input(client: paramiko.Transport) -> None:
    channel = start(client, "sleep 600")
    channel.sendall(bytes(MEBIBYTE))
    send_signal(channel, "TERM")
    assert finish(channel)[0] == -1


GROUPS = {
    "asleep": "sleep 600 & echo $! $$ | tr ' ' '\\n'; wait",
    "ignoring TERM": "trap '' TERM; sleep 600 & echo $! $$ | tr ' ' '\\n'; wait",
}


@pytest.mark.parametrize("command", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("unread", [0, 3 * MEBIBYTE])
def test_closed_channel_ends_the_whole_group(
    client: paramiko.Transport, command: str, unread: int
) -> None:
    channel = start(client, command)
    pids = first_numbers(channel, 2)
    assert all(map(alive, pids))
    channel.setblocking(False)
    with contextlib.suppress(socket.timeout):
        for _ in range(unread // 1024):
            channel.send(bytes(1024))
    channel.close()
    until(lambda: not any(map(alive, pids)))
    assert run(client, "echo hi")[1] == b"hi\n"


def test_lost_connection_ends_the_whole_group(node: DemoNode) -> None:
    with node.login() as transport:
        pids = first_numbers(start(transport, GROUPS["asleep"]), 2)
        transport.sock.close()
    until(lambda: not any(map(alive, pids)))


def test_stopped_node_ends_its_commands(tmp_path: Path) -> None:
    with DemoNode(tmp_path) as node, node.login() as transport:
        pids = [
            pid
            for command in GROUPS.values()
            for pid in first_numbers(start(transport, command), 2)
        ]
        node.process.terminate()
        assert node.process.wait(PATIENCE) == 0
        assert not any(map(alive, pids))


def test_node_and_its_commands_end_with_the_parent(tmp_path: Path) -> None:
    node = DemoNode(tmp_path)
    # The thread that starts the node ends at once, which is no reason to end.
    parent = f"""
import subprocess, threading
def start():
    global node
    node = subprocess.Popen({node.command()!r}, stdout=subprocess.PIPE)
thread = threading.Thread(target=start)
thread.start(); thread.join()
print(node.stdout.readline().decode().strip(), node.pid, sep="\\n", flush=True)
input()
"""
    environ = {**os.environ, "DEMO_PASSWORD": PASSWORD}
    with subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        node.host, node.port, node.fingerprint = ready["host"], ready["port"], ready["fingerprint"]
        pid = int(process.stdout.readline())
        with node.login() as transport:
            time.sleep(1)
            pids = [pid, *first_numbers(start(transport, GROUPS["asleep"]), 2)]
            assert all(map(alive, pids))
            os.kill(process.pid, signal.SIGKILL)
            until(lambda: not any(map(alive, pids)))


# -- sessions, files, keys --------------------------------------------------------------------


def test_eleventh_session_is_refused_and_the_next_after_an_end_is_not(
    client: paramiko.Transport,
) -> None:
    held = [start(client, "cat") for _ in range(10)]
    with pytest.raises(paramiko.ChannelException) as refusal:
        client.open_session()
    assert refusal.value.code == 2  # SSH_OPEN_CONNECT_FAILED, as sshd has it
    held[0].shutdown_write()
    assert finish(held[0])[0] == 0
    assert run(client, "echo hi")[1] == b"hi\n"
    for channel in held[1:]:
        channel.close()


def test_tenth_session_can_be_had_again_at_once(client: paramiko.Transport) -> None:
    held = [start(client, "cat") for _ in range(9)]
    for number in range(50):
        assert run(client, f"exit {number}")[0] == number
    for channel in held:
        channel.close()


def test_files_go_up_and_down_and_are_renamed(
    node: DemoNode, client: paramiko.Transport, tmp_path: Path
) -> None:
    data = random.Random(2).randbytes(3 * MEBIBYTE)
    (tmp_path / "up").write_bytes(data)
    with paramiko.SFTPClient.from_transport(client) or pytest.fail() as sftp:
        assert sftp.normalize(".") == str(node.home.resolve())
        sftp.put(str(tmp_path / "up"), "räume.bin")
        assert (node.home / "räume.bin").read_bytes() == data
        sftp.rename("räume.bin", "new")
        sftp.posix_rename("new", str(node.home / "newer"))
        assert not (node.home / "new").exists()
        sftp.get("newer", str(tmp_path / "down"))
        with pytest.raises(FileNotFoundError):
            sftp.stat("new")
        sftp.remove("newer")
    assert (tmp_path / "down").read_bytes() == data


def test_file_transfer_ends_with_status_0(client: paramiko.Transport) -> None:
    with paramiko.SFTPClient.from_transport(client) or pytest.fail() as sftp:
        channel = sftp.get_channel() or pytest.fail()
        channel.shutdown_write()
        assert channel.recv_exit_status() == 0  # scp fails otherwise


def test_host_key_survives_a_restart_and_is_private(tmp_path: Path) -> None:
    fingerprints = []
    for _ in range(2):
        with DemoNode(tmp_path) as node, node.login():
            fingerprints.append(node.fingerprint)
    assert fingerprints[0] == fingerprints[1]
    assert (tmp_path / "state" / "host_key").stat().st_mode & 0o777 == 0o600


def test_node_without_a_password_does_not_start(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "DEMO_PASSWORD"}
    result = subprocess.run(
        DemoNode(tmp_path).command(), cwd=ROOT, env=environ, capture_output=True, check=False
    )
    assert result.returncode != 0
    assert (result.stdout, b"DEMO_PASSWORD" in result.stderr) == (b"", True)
