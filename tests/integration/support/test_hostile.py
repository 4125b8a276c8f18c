"""Proves that each mode of tests.support.hostile does what it says, and that all of it ends."""

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from tests.support.hostile import BINARY, PARTIAL, HostileSSH, Mode

pytestmark = pytest.mark.timeout(30)

USER = "alice"


def live_threads() -> set[threading.Thread]:
    # paramiko guards its handshakes by timers, which may end a little after all else
    return {each for each in threading.enumerate() if not isinstance(each, threading.Timer)}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = live_threads()
    yield
    assert live_threads() <= before


@contextlib.contextmanager
def raw(server: HostileSSH) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=1) as connection:
        yield connection


@contextlib.contextmanager
def transport(server: HostileSSH) -> Iterator[paramiko.Transport]:
    """Connect, up to the key exchange with the expected host key."""
    connection = paramiko.Transport((server.host, server.port))
    try:
        connection.start_client(timeout=10)
        assert connection.get_remote_server_key() == server.host_key
        yield connection
    finally:
        connection.close()
        connection.join()


@contextlib.contextmanager
def session(server: HostileSSH, command: str = "date") -> Iterator[paramiko.Channel]:
    """Open a channel on which the server has accepted `command`."""
    with transport(server) as connection:
        connection.auth_password(USER, "secret")
        channel = connection.open_session(timeout=10)
        channel.settimeout(5)
        channel.exec_command(command)
        yield channel


def read_all(channel: paramiko.Channel) -> bytes:
    return b"".join(iter(lambda: channel.recv(65536), b""))


def test_silent_sends_nothing() -> None:
    with HostileSSH(Mode.SILENT) as server, raw(server) as connection:
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_endless_banner_never_comes_to_the_version() -> None:
    received = b""
    with HostileSSH(Mode.ENDLESS_BANNER) as server, raw(server) as connection:
        while len(received) < 200_000:
            received += connection.recv(65536)
    assert b"\r\n" in received
    assert b"SSH-" not in received


def test_garbage_banner_is_refused_by_a_client() -> None:
    with (
        HostileSSH(Mode.GARBAGE_BANNER) as server,
        pytest.raises(paramiko.SSHException),
        transport(server),
    ):
        pass


def test_drop_before_auth_comes_after_the_key_exchange() -> None:
    with (
        HostileSSH(Mode.DROP_BEFORE_AUTH) as server,
        transport(server) as connection,
        pytest.raises((paramiko.SSHException, EOFError)),
    ):
        connection.auth_password(USER, "secret")


def test_endless_prompts_go_on_until_the_client_has_enough() -> None:
    asked: list[str] = []

    def answer(title: str, text: str, fields: list[tuple[str, bool]]) -> list[str]:
        asked.extend(prompt for prompt, _ in fields)
        if len(asked) == 20:
            raise EOFError
        return ["any"]

    with (
        HostileSSH(Mode.ENDLESS_PROMPTS) as server,
        transport(server) as connection,
        pytest.raises((EOFError, paramiko.SSHException)),
    ):
        connection.auth_interactive(USER, answer)
    assert asked == [f"Prompt {number}: " for number in range(1, 21)]


@pytest.mark.parametrize(
    ("replies", "accepted", "prompts"),
    [
        (["secret", "123456"], True, ["Password: ", "Verification code: "]),
        (["secret", "000000"], False, ["Password: ", "Verification code: "]),
        (["wrong"], False, ["Password: "]),
    ],
)
def test_otp_asks_for_password_then_code(
    replies: list[str], accepted: bool, prompts: list[str]
) -> None:
    asked: list[str] = []

    def answer(title: str, text: str, fields: list[tuple[str, bool]]) -> list[str]:
        asked.extend(prompt for prompt, _ in fields)
        return [replies[len(asked) - 1] for _ in fields]

    with HostileSSH(Mode.OTP) as server, transport(server) as connection:
        with contextlib.suppress(paramiko.AuthenticationException):
            connection.auth_interactive(USER, answer)
        assert connection.is_authenticated() is accepted
    assert asked == prompts


def test_otp_refuses_the_password_alone_and_then_behaves() -> None:
    with HostileSSH(Mode.OTP) as server, transport(server) as connection:
        with pytest.raises(paramiko.BadAuthenticationType):
            connection.auth_password(USER, "secret", fallback=False)
        connection.auth_publickey(USER, paramiko.ECDSAKey.generate())
        channel = connection.open_session(timeout=10)
        channel.exec_command("date")
        assert read_all(channel) == b""
        assert channel.recv_exit_status() == 0


def test_only_configured_passwords_are_accepted() -> None:
    with HostileSSH(Mode.NO_ANSWER, passwords=["one", "two"]) as server:
        for password in ("one", "two"):
            with transport(server) as connection:
                connection.auth_password(USER, password)
        with transport(server) as connection, pytest.raises(paramiko.AuthenticationException):
            connection.auth_password(USER, "secret")
        assert server.connections == 3


def test_refuse_channels_leaves_the_connection() -> None:
    with HostileSSH(Mode.REFUSE_CHANNELS) as server, transport(server) as connection:
        connection.auth_password(USER, "secret")
        for _ in range(3):
            with pytest.raises(paramiko.ChannelException):
                connection.open_session(timeout=10)
        assert connection.is_active()


def test_drop_at_open_is_before_the_command() -> None:
    with HostileSSH(Mode.DROP_AT_OPEN) as server:
        with pytest.raises((paramiko.SSHException, EOFError)), session(server):
            pass
        assert server.commands == []


def test_drop_at_exec_is_after_the_command() -> None:
    with HostileSSH(Mode.DROP_AT_EXEC) as server:
        with pytest.raises((paramiko.SSHException, EOFError)), session(server, "hostname"):
            pass
        assert server.commands == ["hostname"]


def test_frozen_confirms_nothing_and_stays_connected() -> None:
    def execute(channel: paramiko.Channel) -> None:
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            channel.exec_command("date")

    with HostileSSH(Mode.FROZEN) as server, transport(server) as connection:
        connection.auth_password(USER, "secret")
        channel = connection.open_session(timeout=10)
        client = threading.Thread(target=execute, args=[channel])
        client.start()
        client.join(0.3)
        assert client.is_alive()
        assert connection.is_active()
        connection.close()
        client.join()


def test_no_answer_confirms_and_stays_silent() -> None:
    with HostileSSH(Mode.NO_ANSWER) as server, session(server) as channel:
        channel.settimeout(0.3)
        with pytest.raises(TimeoutError):
            channel.recv(1)
        assert not channel.exit_status_ready()
        assert server.commands == ["date"]


def test_endless_output_goes_on() -> None:
    received = 0
    with HostileSSH(Mode.ENDLESS_OUTPUT) as server, session(server) as channel:
        while received < 5_000_000:
            received += len(channel.recv(65536))
        assert not channel.exit_status_ready()


def test_endless_output_unread_still_ends_with_the_server() -> None:
    with HostileSSH(Mode.ENDLESS_OUTPUT) as server, session(server):
        time.sleep(0.2)  # the window of 2 MiB fills and the server blocks


def test_drop_in_output_ends_the_connection() -> None:
    with HostileSSH(Mode.DROP_IN_OUTPUT) as server, session(server) as channel:
        assert PARTIAL.startswith(read_all(channel))
        assert channel.recv_exit_status() == -1
        assert not channel.get_transport().is_active()


def test_no_exit_status_leaves_the_connection() -> None:
    with HostileSSH(Mode.NO_EXIT_STATUS) as server, session(server) as channel:
        assert read_all(channel) == PARTIAL
        assert channel.recv_exit_status() == -1
        assert channel.get_transport().is_active()


def test_binary_output_is_no_text_and_exits_0() -> None:
    with HostileSSH(Mode.BINARY_OUTPUT) as server, session(server) as channel:
        assert read_all(channel) == BINARY
        assert channel.recv_exit_status() == 0
    with pytest.raises(UnicodeDecodeError):
        BINARY.decode()


def test_known_hosts_line_is_the_host_key(tmp_path: Path) -> None:
    server = HostileSSH(Mode.SILENT)
    server.stop()  # also without a start
    (tmp_path / "known_hosts").write_text(server.known_hosts_line)
    known = paramiko.HostKeys(str(tmp_path / "known_hosts"))
    assert known.check(f"[{server.host}]:{server.port}", server.host_key)
    assert base64.b64encode(server.host_key.asbytes()).decode() in server.known_hosts_line
