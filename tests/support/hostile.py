"""An SSH server with one fault, run by paramiko in threads of the test process.

Each `Mode` is a fault of a real network, server or login node that a client must survive.
"""

import contextlib
import enum
import os
import socket
import threading
from collections.abc import Callable, Collection
from functools import partial

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)
from paramiko.server import InteractiveQuery

from tests.support.background_service import BackgroundService

BINARY = bytes(range(256)) * 64  # printed by Mode.BINARY_OUTPUT: contains NUL, is not valid UTF-8
PARTIAL = b"partial output\n"  # printed by the modes that stop in the middle of the output


class Mode(enum.Enum):
    """The fault of the server, in the order of a connection's life."""

    SILENT = "accepts TCP and never sends a banner"
    ENDLESS_BANNER = "sends endless lines before its banner (RFC 4253, 4.2)"
    GARBAGE_BANNER = "sends binary garbage instead of a banner, then nothing"
    DROP_BEFORE_AUTH = (
        "drops the connection after the key exchange, when the client starts to log in"
    )
    ENDLESS_PROMPTS = "sends one keyboard-interactive prompt after another"
    OTP = "no fault: asks for the password, then for a code; commands succeed without output"
    REFUSE_CHANNELS = "refuses every channel, as sshd does above MaxSessions"
    DROP_AT_OPEN = "drops the connection when a channel is opened: the command was not sent"
    DROP_AT_EXEC = "drops the connection at the exec request: the command was sent"
    FROZEN = "stops reading at the exec request, keepalives included: half-open"
    NO_ANSWER = "accepts the exec and never answers it, but answers keepalives"
    ENDLESS_OUTPUT = "prints without end"
    DROP_IN_OUTPUT = "prints PARTIAL, then drops the connection"
    NO_EXIT_STATUS = "prints PARTIAL and closes the channel without an exit status"
    BINARY_OUTPUT = "prints BINARY and exits 0"


class HostileSSH(BackgroundService):
    """A server that accepts any user with one of `passwords` or any key; a context manager.

    `connections` counts the accepted TCP connections; `commands` lists the requested commands.
    """

    host = "127.0.0.1"

    def __init__(
        self, mode: Mode, *, passwords: Collection[str] = ("secret",), otp: str = "123456"
    ) -> None:
        """Reserve a free `port`; `start` accepts connections, `stop` ends the server."""
        self.mode = mode
        self.passwords = frozenset(passwords)
        self.otp = otp
        self.host_key = paramiko.ECDSAKey.generate()
        self.connections = 0
        self.commands: list[str] = []
        self.stopping = threading.Event()
        self._listener = socket.create_server((self.host, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def known_hosts_line(self) -> str:
        """The host key as a line of an OpenSSH known_hosts file."""
        key = self.host_key
        return f"[{self.host}]:{self.port} {key.get_name()} {key.get_base64()}\n"

    def start(self) -> None:
        """Start to accept connections."""
        self._acceptor.start()

    def stop(self) -> None:
        """Drop every connection and end every thread. A stopped server cannot start again."""
        self.stopping.set()
        _drop(self._listener)  # wakes accept()
        self._listener.close()
        if self._acceptor.is_alive():
            self._acceptor.join()
        for connection in self._sockets:
            _drop(connection)
        for thread in self._threads:  # the last execs may still add threads
            thread.join()

    def spawn(self, work: Callable[[], None]) -> None:
        """Run `work` in a thread that `stop` waits for; ignore a lost connection.

        `work` must return soon after its socket is shut down or `stopping` is set.
        """

        def run() -> None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                work()

        thread = threading.Thread(target=run, name=f"hostile {self.mode.name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(connection)
                self.spawn(partial(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            match self.mode:
                case Mode.SILENT:
                    _read_until_end(connection)
                case Mode.ENDLESS_BANNER:
                    while not self.stopping.wait(0.001):  # a flood that leaves some processor time
                        connection.sendall(b"Welcome to the machine\r\n" * 40)
                case Mode.GARBAGE_BANNER:
                    connection.sendall(os.urandom(16 * 1024))
                    _read_until_end(connection)
                case _:
                    self._serve_ssh(connection)

    def _serve_ssh(self, connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        transport.add_server_key(self.host_key)
        try:
            transport.start_server(server=_Session(self, connection))
            transport.join()
        finally:
            _drop(connection)
            transport.join()


class _Session(paramiko.ServerInterface):
    """The answers to one connection's requests; paramiko calls the methods in its thread."""

    def __init__(self, server: HostileSSH, connection: socket.socket) -> None:
        self.server = server
        self.mode = server.mode
        self.connection = connection
        self.prompts_answered = 0

    # -- authentication ---------------------------------------------------------------------

    def get_banner(self) -> tuple[str | None, str | None]:
        # Called when the client requests the ssh-userauth service (RFC 4252, 5.4).
        if self.mode is Mode.DROP_BEFORE_AUTH:
            _drop(self.connection)
        return None, None

    def get_allowed_auths(self, username: str) -> str:
        if self.mode in (Mode.OTP, Mode.ENDLESS_PROMPTS):
            return "publickey,keyboard-interactive"
        return "publickey,password"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL

    def check_auth_password(self, username: str, password: str) -> int:
        allowed = "password" in self.get_allowed_auths(username)
        return AUTH_SUCCESSFUL if allowed and password in self.server.passwords else AUTH_FAILED

    def check_auth_interactive(self, username: str, submethods: str) -> int | InteractiveQuery:
        self.prompts_answered = 0
        if self.mode is Mode.OTP:
            return _prompt("Password: ")
        if self.mode is Mode.ENDLESS_PROMPTS:
            return _prompt("Prompt 1: ")
        return AUTH_FAILED

    def check_auth_interactive_response(self, responses: list[str]) -> int | InteractiveQuery:
        self.prompts_answered += 1
        if self.mode is Mode.ENDLESS_PROMPTS:
            return _prompt(f"Prompt {self.prompts_answered + 1}: ")
        if self.prompts_answered == 1 and _single(responses) in self.server.passwords:
            return _prompt("Verification code: ")
        if self.prompts_answered == 2 and _single(responses) == self.server.otp:
            return AUTH_SUCCESSFUL
        return AUTH_FAILED

    # -- channels ---------------------------------------------------------------------------

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self.mode is Mode.REFUSE_CHANNELS:
            return OPEN_FAILED_CONNECT_FAILED
        if self.mode is Mode.DROP_AT_OPEN:
            _drop(self.connection)
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.server.commands.append(command.decode(errors="replace"))
        if self.mode is Mode.DROP_AT_EXEC:
            _drop(self.connection)
        elif self.mode is Mode.FROZEN:
            self.server.stopping.wait()
        else:
            self.server.spawn(partial(self._answer, channel))
        return True

    def _answer(self, channel: paramiko.Channel) -> None:
        # paramiko confirms the exec request after our method returns, and does not report when.
        self.server.stopping.wait(0.05)
        match self.mode:
            case Mode.ENDLESS_OUTPUT:
                while not self.server.stopping.is_set():
                    channel.sendall(b"y\n" * 8192)
            case Mode.DROP_IN_OUTPUT:
                channel.sendall(PARTIAL)
                _drop(self.connection)
            case Mode.NO_EXIT_STATUS:
                channel.sendall(PARTIAL)
                channel.close()
            case Mode.BINARY_OUTPUT:
                channel.sendall(BINARY)
                _exit_0(channel)
            case Mode.OTP:
                _exit_0(channel)


def _prompt(text: str) -> InteractiveQuery:
    return InteractiveQuery("", "", (text, False))


def _single(responses: list[str]) -> str | None:
    return responses[0] if len(responses) == 1 else None


def _exit_0(channel: paramiko.Channel) -> None:
    channel.send_exit_status(0)
    channel.close()


def _drop(connection: socket.socket) -> None:
    """Shut down a connection without SSH's disconnect, and wake the threads that use it."""
    with contextlib.suppress(OSError):  # the client closed it first
        connection.shutdown(socket.SHUT_RDWR)


def _read_until_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass
