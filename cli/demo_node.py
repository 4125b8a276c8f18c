"""The demo login node: a real SSH server on loopback that runs real commands in a scratch home.

`resop up --demo` starts it when no cluster is configured. It needs only Python and a shell, and
behaves like OpenSSH's sshd towards a client, without terminals and forwarding.
"""

import argparse
import asyncio
import hmac
import json
import logging
import os
import signal
import subprocess
import sys
from asyncio.subprocess import SubprocessStreamProtocol
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh.auth_keys import SSHAuthorizedKeys
from asyncssh.constants import MSG_CHANNEL_REQUEST, OPEN_CONNECT_FAILED
from asyncssh.packet import Boolean, String, UInt32

from resop.config.logging import PlainFormatter, log_uncaught_faults

HOST = "127.0.0.1"
MAX_SESSIONS = 10  # channels of one connection: sshd's MaxSessions
MAX_UNAUTHENTICATED = 100  # connections: the last figure of sshd's MaxStartups
LOGIN_TIMEOUT = 60.0  # seconds
WRONG_PASSWORD_DELAY = 0.3  # seconds
GRACE = 2.0  # seconds between TERM and KILL
POLL = 0.2  # seconds between two checks of a state that raises no event
CHUNK = 64 * 1024

SHELL = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
# Our own Python comes last: it is the python3 of commands where the system has none.
PATH = f"/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:{Path(sys.executable).parent}"
_NAMES = ["ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM"]
SIGNALS = {name: signal.Signals["SIG" + name] for name in (*_NAMES, "USR1", "USR2")}  # RFC 4254
# Commands run as the account that started resop. Where a login asks whose account it is, this names
# the demo account instead: `resop.ssh.remote_account` looks for `id` in a list of places.
ID = ".demo/id"
ID_SCRIPT = """#!/bin/sh
[ "$*" = -un ] && echo {username} || exec id "$@"
"""
ID_PLACES = "for id in /usr/bin/id "
EXPIRY_FORMATS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class AuthorizedKeys(SSHAuthorizedKeys):
    """An authorized_keys file (sshd(8)) without its expired lines.

    asyncssh parses the option expiry-time but does not act on it.
    """

    def __init__(self, content: str) -> None:
        super().__init__()
        self._lines = []
        for line in content.splitlines():
            with suppress(ValueError):  # a comment or malformed: sshd skips the line
                self._lines.append(asyncssh.import_authorized_keys(line))

    def validate(self, *args: Any, **kwargs: Any) -> Mapping[str, object] | None:
        """Return the options of the first line that accepts the key."""
        for line in self._lines:
            options = line.validate(*args, **kwargs)
            if options is not None:
                times = options.get("expiry-time", [])
                if isinstance(times, list) and not any(map(_expired, times)):
                    return options
        return None


def _expired(time: str) -> bool:
    """Return True if YYYYMMDD[HHMM[SS]][Z] is past or malformed; without Z it is local time."""
    digits = time.removesuffix("Z")
    try:
        moment = datetime.strptime(digits, EXPIRY_FORMATS[len(digits)])
    except (KeyError, ValueError):
        return True
    return datetime.now(UTC) > (
        moment.astimezone() if time == digits else moment.replace(tzinfo=UTC)
    )


class DemoCommand(SubprocessStreamProtocol):
    """A running command line in its own session and process group.

    Replaces asyncio's Process, whose wait() waits for the pipes too on some Python versions.
    """

    def __init__(self) -> None:
        super().__init__(limit=CHUNK, loop=asyncio.get_running_loop())
        self.exited = asyncio.Event()
        self._group_gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.process: subprocess.Popen[bytes] = transport.get_extra_info("subprocess")

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()
        self.signal(0)  # notice an empty group before its number is used again

    def signal(self, number: int) -> None:
        """Send a signal to the whole group; 0 only checks that the group exists."""
        if self._group_gone:
            return
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):  # the latter for zombies, on macOS
            self._group_gone = self.exited.is_set()

    async def end(self) -> None:
        """Terminate the rest of the group; kill it after GRACE seconds."""
        self.signal(signal.SIGTERM)
        for _ in range(int(GRACE / 0.02)):
            self.signal(0)
            if self._group_gone:
                return
            await asyncio.sleep(0.02)
        self.signal(signal.SIGKILL)
        await self.exited.wait()


class SftpFiles(asyncssh.SFTPServer):
    """SFTP on the real file system; relative paths start in this process's folder, the home."""

    def exit(self) -> None:
        self.channel.exit(0)  # asyncssh sends no status, which scp reports as a failure


class DemoSession(asyncssh.SSHServerProcess[bytes]):
    """One channel: SFTP, served by asyncssh, or a command or shell, served here.

    asyncssh's redirection cannot be used: it ends all output when the first of stdout and stderr
    ends, and it signals one process instead of the group.
    """

    def __init__(self, node: "DemoNode") -> None:
        sftp: Any = SftpFiles  # asyncssh annotates parameter and class differently
        super().__init__(lambda _: node.spawn(self._serve(self._environment())), sftp, 3, False)
        self.over = False
        """True once the session is closed and no longer counts."""
        self._node = node
        self._started: asyncio.Future[DemoCommand] = asyncio.get_running_loop().create_future()

    def signal_received(self, signal: str) -> None:
        if signal in SIGNALS:  # may arrive before the command has started
            self._started.add_done_callback(lambda done: done.result().signal(SIGNALS[signal]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        super().connection_lost(None)  # whatever the reason, the streams just end

    async def _serve(self, env: dict[str, str]) -> None:
        """Run the command until it or the channel ends; then end the rest of its group."""
        argv: list[str | bytes] = ["-bash"]
        if self.command is not None:
            command_line = self.command.replace(ID_PLACES, f"for id in ./{ID} /usr/bin/id ")
            argv = ["bash", "-c", command_line.encode()]
        start = partial(asyncio.get_running_loop().subprocess_exec, DemoCommand, executable=SHELL)
        try:
            pipes, command = await start(
                *argv, cwd=self._node.home, env=env, start_new_session=True
            )
        except (OSError, ValueError) as error:  # ValueError: the command has a NUL
            with suppress(BrokenPipeError):  # the client has closed
                self.stderr.write(f"{SHELL}: {error}\n".encode())
            self.exit(1)
            return
        self._started.set_result(command)
        await self._relay(command)
        self.over = True
        self.channel.close()
        await command.end()
        pipes.close()

    def _environment(self) -> dict[str, str]:
        client, client_port = self.get_extra_info("peername")[:2]
        server, port = self.get_extra_info("sockname")[:2]
        home, user = str(self._node.home), self._node.username
        env = {"HOME": home, "USER": user, "LOGNAME": user, "SHELL": SHELL, "PATH": PATH}
        env["SSH_CLIENT"] = f"{client} {client_port} {port}"
        env["SSH_CONNECTION"] = f"{client} {client_port} {server} {port}"
        return env

    async def _relay(self, command: DemoCommand) -> None:
        """Relay until command and output have ended, or the client has closed the channel."""
        assert command.stdin and command.stdout and command.stderr
        feeding = asyncio.ensure_future(self._feed(command.stdin))
        # A background process that holds stdout or stderr keeps the channel open, as with sshd.
        pending = {
            asyncio.ensure_future(self._report(command)),
            asyncio.ensure_future(_copy(command.stdout, self.stdout)),
            asyncio.ensure_future(_copy(command.stderr, self.stderr)),
        }
        # asyncssh raises no event for a CLOSE that follows unread input, so poll.
        while pending and not self.channel.is_closing():
            _, pending = await asyncio.wait(pending, timeout=POLL)
        for task in (feeding, *pending):
            task.cancel()

    async def _feed(self, stdin: asyncio.StreamWriter) -> None:
        """Relay input; drop it once the command no longer reads, as sshd does."""
        while data := await self.stdin.read(CHUNK):
            if not stdin.is_closing():
                stdin.write(data)
                with suppress(ConnectionError):
                    await stdin.drain()
        stdin.close()

    async def _report(self, command: DemoCommand) -> None:
        """Send the exit status at once, before the last output, which `exit` cannot do."""
        await command.exited.wait()
        code = command.process.returncode
        if code >= 0:
            report = String("exit-status") + Boolean(False) + UInt32(code)
        else:
            name = next((name for name in SIGNALS if SIGNALS[name] == -code), "SIG@openssh.com")
            core_message_language = Boolean(False) + String("") + String("")
            report = String("exit-signal") + Boolean(False) + String(name) + core_message_language
        self.channel.send_packet(MSG_CHANNEL_REQUEST, report)


async def _copy(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    """Relay output at the client's pace until it ends or the client closes."""
    with suppress(BrokenPipeError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()


class LoginServer(asyncssh.SSHServer):
    """One connection: its authentication, and its limit of channels."""

    def __init__(self, node: "DemoNode") -> None:
        self.authenticated = False
        self._node = node
        self._sessions: list[DemoSession] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn
        self._node.logins.add(self)
        if sum(not login.authenticated for login in self._node.logins) > MAX_UNAUTHENTICATED:
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._node.logins.discard(self)

    def begin_auth(self, username: str) -> bool:
        if username == self._node.username:
            with suppress(OSError):  # no such file, or not readable: no keys
                keys = (self._node.home / ".ssh/authorized_keys").read_text(errors="replace")
                self.connection.set_authorized_keys(AuthorizedKeys(keys))
        return True

    def auth_completed(self) -> None:
        self.authenticated = True

    def public_key_auth_supported(self) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True  # includes keyboard-interactive with one prompt

    async def validate_password(self, username: str, password: str) -> bool:
        right = hmac.compare_digest(password.encode(), self._node.password.encode())
        if right and username == self._node.username:
            return True
        await asyncio.sleep(WRONG_PASSWORD_DELAY)
        return False

    def session_requested(self) -> DemoSession:
        self._sessions = [session for session in self._sessions if not session.over]
        if len(self._sessions) >= MAX_SESSIONS:
            raise asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, "open failed")
        self._sessions.append(DemoSession(self._node))
        return self._sessions[-1]


@dataclass
class DemoNode:
    """The state that all connections share: the account, and everything that runs."""

    home: Path
    username: str
    password: str
    logins: set[LoginServer] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start `work`; `end` waits for it."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def end(self) -> None:
        """Drop every connection and wait until the commands are gone."""
        for login in self.logins:
            login.connection.abort()
        if self.tasks:
            await asyncio.wait(self.tasks)


def host_key(state: Path) -> asyncssh.SSHKey:
    """Return the host key in the folder `state`, created if there is none."""
    path = state / "host_key"
    if not path.exists():
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = path.with_suffix(".new")  # a crash must not leave half a key at `path`
        new.touch(mode=0o600)
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(new)
        new.replace(path)
    return asyncssh.read_private_key(path)


def write_id(home: Path, username: str) -> None:
    """Write the program that tells the name of the demo account."""
    file = home / ID
    file.parent.mkdir(exist_ok=True)
    file.write_text(ID_SCRIPT.format(username=username))
    file.chmod(0o755)


async def serve(node: DemoNode, port: int, key: asyncssh.SSHKey, parent: int) -> None:
    """Serve until a signal arrives or process `parent` is no longer our parent."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    acceptor = await asyncssh.listen(
        HOST,
        port,
        server_factory=lambda: LoginServer(node),
        server_host_keys=[key],
        login_timeout=LOGIN_TIMEOUT,
        encoding=None,
        allow_pty=False,
        line_editor=False,
        agent_forwarding=False,
        gss_host=None,
    )
    ready = {"host": HOST, "port": acceptor.get_port(), "fingerprint": key.get_fingerprint()}
    print(json.dumps(ready), flush=True)
    # Not PR_SET_PDEATHSIG: it fires when the thread that started us ends, and is Linux only.
    while not stop.is_set() and os.getppid() == parent:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL):
                await stop.wait()
    acceptor.close()
    await node.end()


def main() -> None:
    """Run the command line; the password comes from the environment, never from the arguments."""
    parser = argparse.ArgumentParser(prog="python -P -m cli.demo_node", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the account's home folder")
    parser.add_argument(
        "--state", type=Path, help="folder of the host key (default: beside the home)"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port to listen on (default: any free port)"
    )
    parser.add_argument("--username", required=True, help="name of the account")
    parser.add_argument(
        "--parent-pid",
        type=int,
        default=os.getppid(),
        help="stop when this process ends (default: the process that started this one)",
    )
    options = parser.parse_args()
    password = os.environ.pop("DEMO_PASSWORD", "")
    if not (password and password.isascii() and password.isprintable()):  # see RFC 4013 for others
        sys.exit("resop demo node: set DEMO_PASSWORD to printable ASCII characters")
    home = options.home.absolute()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_id(home, options.username)
    key = host_key(options.state or home.with_name(f".{home.name}.state"))
    node = DemoNode(home, options.username, password)
    os.chdir(home)
    os.umask(0o022)  # as on a login node; that of the service, which starts this one, is stricter
    # Its log is that of the service, in which no text from outside may forge a line.
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter())
    logging.getLogger().addHandler(handler)
    log_uncaught_faults()
    # asyncio warns when a client goes away in the middle, which is normal here.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    asyncio.run(serve(node, options.port, key, options.parent_pid))


if __name__ == "__main__":
    main()
