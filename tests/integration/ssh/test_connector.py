"""Logging in: questions and answers, an error for each refusal, and time limits."""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncssh
import pytest
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL
from paramiko.server import InteractiveQuery

from resop.config.settings import Settings
from resop.errors import (
    ClusterError,
    ClusterMisconfigured,
    ClusterUnreachable,
    ContactLost,
    HostKeyMismatch,
    KeyRefused,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
)
from resop.ssh import connector as connector_module
from resop.ssh import login_client
from resop.ssh.connector import Connector
from resop.ssh.exec_channel import run_command_line
from resop.ssh.handshake_queue import START_HANDSHAKES
from tests.support import hostile
from tests.support.hostile import HostileSSH, Mode
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = pytest.mark.timeout(30)

ALICE = Account("alice", "alice's password")
EXPIRED = Account("eve", "eve's password")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("ssh"), [ALICE, EXPIRED]) as running:
        yield running


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_client, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(connector_module, "RETRY_TIMEOUT", 0.5)
    monkeypatch.setattr(connector_module, "RETRY_PAUSE", 0.01)
    monkeypatch.setitem(LIMITS, "LOGIN_SECONDS", 1.0)


LIMITS = {"LOGIN_SECONDS": 30.0}
"""Settings that some tests make shorter."""


def settings_for(server: OpenSSH | HostileSSH, known: str | None = None) -> Settings:
    if known is None:
        if isinstance(server, OpenSSH):
            known = str(server.known_hosts)
        else:
            _, key = server.known_hosts_line.split(maxsplit=1)
            known = asyncssh.import_public_key(key).get_fingerprint()
    return Settings(
        CLUSTER_ADDRESS=server.host,
        CLUSTER_SSH_PORT=server.port,
        KNOWN_HOSTS=known,
        LOGIN_SECONDS=LIMITS["LOGIN_SECONDS"],
    )


async def log_in(
    server: OpenSSH | HostileSSH,
    password: str = ALICE.password,
    otp: str | None = None,
    *,
    user: str = ALICE.name,
    known: str | None = None,
) -> str:
    """Log in; return the user name that an OpenSSH server reports."""
    settings = settings_for(server, known)
    connector = Connector(settings)
    async with await connector.with_password(settings.cluster(None), user, password, otp) as made:
        if isinstance(server, HostileSSH):
            who = "in"
        else:
            who = (await run_command_line(made, "whoami", None, 10)).stdout.decode().strip()
    return who


async def log_in_with_key(server: OpenSSH, key: asyncssh.SSHKey) -> str:
    settings = settings_for(server)
    private = key.export_private_key("openssh")
    cluster = settings.cluster(None)
    async with await Connector(settings).with_key(cluster, ALICE.name, private) as made:
        answer = await run_command_line(made, "whoami", None, 10)
    return answer.stdout.decode().strip()


@contextlib.asynccontextmanager
async def talking(*words: bytes) -> AsyncIterator[int]:
    """Serve a port that sends the same words to each client and then only listens."""
    talks: list[asyncio.Task[None]] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.writelines(words)
            await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.create_task(talk(reader, writer)))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
    await asyncio.gather(*talks)


class SaidBy:
    """The lines that an sshd writes to its log after this object was made."""

    ENDS = re.compile(
        r"(Connection (closed|reset) by|Disconnected from|Disconnecting) (authenticating )?user "
    )

    def __init__(self, server: OpenSSH) -> None:
        self._log = server.log
        self._before = len(server.log.read_text())

    async def attempts(self, connections: int = 1) -> tuple[int, int]:
        """Count accepted and refused logins once this number of connections has ended."""
        accepted = failed = 0
        for _ in range(500):
            said = self._log.read_text()[self._before :]
            accepted, failed = (
                len(re.findall(rf"{word} \S+ for ", said)) for word in ("Accepted", "Failed")
            )
            ends = len(self.ENDS.findall(said))
            if min(ends, accepted + failed) >= connections:
                break
            await asyncio.sleep(0.01)
        return accepted, failed


# -- passwords ------------------------------------------------------------------------------


async def test_right_password_logs_in_with_one_attempt(server: OpenSSH) -> None:
    said = SaidBy(server)
    assert await log_in(server) == "alice"
    assert await said.attempts() == (1, 0)


async def test_wrong_password_is_tried_once(server: OpenSSH) -> None:
    said = SaidBy(server)
    with pytest.raises(LoginRefused) as caught:
        await log_in(server, "wrong")
    assert type(caught.value) is LoginRefused
    assert await said.attempts() == (0, 1)


@pytest.mark.parametrize("password", ["", "naïve 🐍", "x" * 2000, "a\nb"])
async def test_unusual_password_counts_as_a_wrong_one(server: OpenSSH, password: str) -> None:
    with pytest.raises(LoginRefused):
        await log_in(server, password)


async def test_unknown_user_is_refused_like_a_wrong_password(server: OpenSSH) -> None:
    with pytest.raises(LoginRefused) as unknown:
        await log_in(server, user="nobody-here")
    with pytest.raises(LoginRefused) as wrong:
        await log_in(server, "wrong")
    assert unknown.value.message == wrong.value.message


async def test_expired_password_is_distinguished_from_a_wrong_one(server: OpenSSH) -> None:
    shadow = server.folder / "etc" / "shadow"
    shadow.write_text(shadow.read_text().replace(":19000:0:99999:", ":0:0:99999:"))
    try:
        with pytest.raises(PasswordExpired):
            await log_in(server, EXPIRED.password, user=EXPIRED.name)
        with pytest.raises(LoginRefused):
            await log_in(server, "wrong", user=EXPIRED.name)
    finally:
        shadow.write_text(shadow.read_text().replace(":0:0:99999:", ":19000:0:99999:"))


@pytest.mark.parametrize(
    "config",
    ["KbdInteractiveAuthentication no", "PasswordAuthentication no", "MaxAuthTries 1"],
)
async def test_password_is_tried_once_whatever_the_server_allows(
    tmp_path: Path, config: str
) -> None:
    need(reason_unavailable())
    with OpenSSH(tmp_path, [ALICE], config=config) as server:
        said = SaidBy(server)
        assert await log_in(server) == "alice"
        with pytest.raises(LoginRefused):
            await log_in(server, "wrong")
        assert await said.attempts(2) == (1, 1)


async def test_prompt_for_a_new_password_means_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask_for_new(self: hostile._Session, responses: list[str]) -> InteractiveQuery:
        given.extend(responses)
        return hostile._prompt("New password: ")

    given: list[str] = []
    monkeypatch.setattr(hostile._Session, "check_auth_interactive_response", ask_for_new)
    with HostileSSH(Mode.OTP) as server, pytest.raises(PasswordExpired):
        await log_in(server, "secret")
    assert given == ["secret"]


async def test_password_is_in_no_error_and_no_log(
    server: OpenSSH, caplog: pytest.LogCaptureFixture
) -> None:
    marker = "MARKER-of-a-secret"
    with caplog.at_level(logging.DEBUG), pytest.raises(LoginRefused) as caught:
        await log_in(server, marker, marker)
    assert marker not in caplog.text
    assert marker not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.as_json()}"


# -- one-time codes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "otp", "fault"),
    [
        ("secret", "123456", None),
        ("secret", None, OtpRequired),
        ("secret", "000000", LoginRefused),
        ("wrong", "123456", LoginRefused),
    ],
)
async def test_code_is_requested_and_checked(
    password: str, otp: str | None, fault: type[Exception] | None
) -> None:
    with HostileSSH(Mode.OTP) as server:
        if fault is None:
            assert await log_in(server, password, otp) == "in"
        else:
            with pytest.raises(fault) as caught:
                await log_in(server, password, otp)
            assert type(caught.value) is fault
        assert server.connections == 1


@pytest.mark.parametrize("otp", [None, "123456", "000000"])
async def test_code_may_be_a_second_factor_after_the_password_method(
    monkeypatch: pytest.MonkeyPatch, otp: str | None
) -> None:
    # sshd_config: AuthenticationMethods password,keyboard-interactive
    accepted: list[str] = []

    def allowed(self: hostile._Session, user: str) -> str:
        return "keyboard-interactive" if accepted else "password"

    def password(self: hostile._Session, user: str, given: str) -> int:
        accepted.append(given)
        return AUTH_PARTIALLY_SUCCESSFUL

    def ask(self: hostile._Session, user: str, submethods: str) -> InteractiveQuery:
        return hostile._prompt("Verification code: ")

    def check(self: hostile._Session, responses: list[str]) -> int:
        return AUTH_SUCCESSFUL if responses == ["123456"] else AUTH_FAILED

    monkeypatch.setattr(hostile._Session, "get_allowed_auths", allowed)
    monkeypatch.setattr(hostile._Session, "check_auth_password", password)
    monkeypatch.setattr(hostile._Session, "check_auth_interactive", ask)
    monkeypatch.setattr(hostile._Session, "check_auth_interactive_response", check)
    with HostileSSH(Mode.OTP) as server:
        if otp == "123456":
            assert await log_in(server, "secret", otp) == "in"
        else:
            with pytest.raises(LoginRefused if otp else OtpRequired):
                await log_in(server, "secret", otp)
    assert accepted == ["secret"]


@pytest.mark.parametrize("otp", [None, "123456"])
async def test_endless_prompts_come_to_an_end(otp: str | None) -> None:
    with HostileSSH(Mode.ENDLESS_PROMPTS) as server:
        begin = time.monotonic()
        with pytest.raises(LoginRefused if otp else OtpRequired):
            await log_in(server, "secret", otp)
        assert time.monotonic() - begin < 3
        assert server.connections == 1


@pytest.mark.usefixtures("_quick")
async def test_endless_messages_without_a_prompt_come_to_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def say_more(*_: object) -> InteractiveQuery:
        return InteractiveQuery("", "please wait")

    monkeypatch.setattr(hostile._Session, "check_auth_interactive", say_more)
    monkeypatch.setattr(hostile._Session, "check_auth_interactive_response", say_more)
    with HostileSSH(Mode.OTP) as server, pytest.raises(ClusterUnreachable):
        await log_in(server, "secret")


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("patience", [5.0, 1.0])
async def test_login_may_take_longer_than_connecting(
    monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    def slowly(self: hostile._Session, responses: list[str]) -> int:
        self.server.stopping.wait(1.3)  # somebody looks for a phone
        return AUTH_SUCCESSFUL

    monkeypatch.setitem(LIMITS, "LOGIN_SECONDS", patience)
    monkeypatch.setattr(hostile._Session, "check_auth_interactive_response", slowly)
    with HostileSSH(Mode.OTP) as server:
        if patience > 1:
            assert await log_in(server, "secret") == "in"
        else:
            with pytest.raises(ClusterUnreachable, match="does not answer within LOGIN_SECONDS"):
                await log_in(server, "secret")
        assert server.connections == 1  # a password that was sent is not sent again


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param([["Password: "], ["Verification code: "]], id="usual"),
        pytest.param([["One-time password (OATH) for `alice': "], ["Password: "]], id="code first"),
        pytest.param([["Kennwort: ", "Token PIN: "]], id="both at once"),
        pytest.param([["Your 6 digits: "], ["Secret word: "]], id="unknown words"),
        pytest.param([[], ["Mot de passe : "], [], ["Enter PASSCODE: "]], id="with messages"),
    ],
)
@pytest.mark.parametrize("otp", [None, "123456"])
async def test_prompts_are_answered_in_any_order_and_wording(
    monkeypatch: pytest.MonkeyPatch, rounds: list[list[str]], otp: str | None
) -> None:
    given: list[str] = []

    def ask(self: hostile._Session, *_: object) -> InteractiveQuery:
        prompts = left.pop(0)
        return InteractiveQuery("", "", *((prompt, False) for prompt in prompts))

    def check(self: hostile._Session, responses: list[str]) -> int | InteractiveQuery:
        given.extend(responses)
        if left and len(responses) == len(rounds[-len(left) - 1]):
            return ask(self)
        return AUTH_SUCCESSFUL if sorted(given) == ["123456", "secret"] else AUTH_FAILED

    left = [*rounds]
    monkeypatch.setattr(hostile._Session, "check_auth_interactive", ask)
    monkeypatch.setattr(hostile._Session, "check_auth_interactive_response", check)
    with HostileSSH(Mode.OTP) as server:
        if otp:
            assert await log_in(server, "secret", otp) == "in"
        else:
            with pytest.raises(OtpRequired):
                await log_in(server, "secret", otp)


# -- keys -----------------------------------------------------------------------------------


async def test_key_logs_in_without_a_password(server: OpenSSH) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    server.authorize(ALICE.name, f"restrict {key.export_public_key().decode()}")
    said = SaidBy(server)
    assert await log_in_with_key(server, key) == "alice"
    assert await said.attempts() == (1, 0)


@pytest.mark.parametrize("line", ["", 'restrict,expiry-time="20200101" '], ids=["unknown", "old"])
async def test_key_that_does_not_open_is_refused(server: OpenSSH, line: str) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    if line:
        server.authorize(ALICE.name, f"{line}{key.export_public_key().decode()}")
    with pytest.raises(KeyRefused):
        await log_in_with_key(server, key)


# -- servers that cannot be used ------------------------------------------------------------


async def test_nothing_is_sent_to_a_server_with_another_host_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def note(self: hostile._Session) -> tuple[None, None]:
        asked.append("ssh-userauth")
        return None, None

    monkeypatch.setattr(hostile._Session, "get_banner", note)
    other = asyncssh.generate_private_key("ssh-ed25519").get_fingerprint()
    with HostileSSH(Mode.OTP) as server:
        with pytest.raises(HostKeyMismatch, match="nothing was sent"):
            await log_in(server, "secret", known=other)
        assert asked == []
        assert server.connections == 1
        assert await log_in(server, "secret", "123456") == "in"
        assert asked == ["ssh-userauth"]


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("mode", "kind", "text"),
    [
        (Mode.SILENT, ClusterUnreachable, "accepts connections, and does not answer with SSH"),
        (Mode.ENDLESS_BANNER, ClusterMisconfigured, "not an SSH server: it says 'Welcome to the"),
        (Mode.GARBAGE_BANNER, ClusterMisconfigured, "not an SSH server: it says '"),
        (Mode.DROP_BEFORE_AUTH, ClusterUnreachable, "closed the connection before the login"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_port_without_an_ssh_server_is_given_up_in_time(
    mode: Mode, kind: type[ClusterError], text: str
) -> None:
    begin = time.monotonic()
    with HostileSSH(mode) as server:
        with pytest.raises(kind, match=text) as caught:
            await log_in(server, "secret")
        assert type(caught.value) is kind
        assert caught.value.retryable is (kind is ClusterUnreachable)
        assert server.connections <= connector_module.MAX_ATTEMPTS
    assert time.monotonic() - begin < 5


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        ([b"SSH-2.0-\xff\xfe\r\n"], ClusterUnreachable, "cannot be reached"),
        ([b"SSH-1.5-old\r\n"], ClusterMisconfigured, "speaks only SSH 1"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], ClusterMisconfigured, "'HTTP/1.1 400 Bad"),
        ([b"SSH-2.0-x\r\n", b"\0\0\0\x0c\x0a" + b"\x14" * 11], ClusterUnreachable, "main"),
        ([b"SSH-2.0-x\r\n", b"\xff" * 64], ClusterUnreachable, "main"),
        ([b"Exceeded MaxStartups\r\n"], ClusterUnreachable, "'Exceeded MaxStartups'"),
        ([b"Not allowed at this time\r\n"], ClusterUnreachable, "'Not allowed at this time'"),
    ],
    ids=["no text", "old version", "http", "torn kexinit", "huge packet", "full", "penalty"],
)
async def test_nonsense_from_the_server_is_shown(
    words: list[bytes], kind: type[ClusterError], text: str
) -> None:
    async with talking(*words) as port:
        settings = Settings(
            CLUSTER_NAME="main",
            CLUSTER_ADDRESS="127.0.0.1",
            CLUSTER_SSH_PORT=port,
            KNOWN_HOSTS="SHA256:x",
        )
        with pytest.raises(kind, match=text) as caught:
            await Connector(settings).with_password(settings.cluster(None), "alice", "any", None)
        assert type(caught.value) is kind


async def test_closed_port_is_an_error_at_once() -> None:
    with HostileSSH(Mode.SILENT) as server:
        pass
    begin = time.monotonic()
    with pytest.raises(ClusterUnreachable, match=rf"127.0.0.1:{server.port}\) refuses connections"):
        await log_in(server)
    assert time.monotonic() - begin < 2  # further attempts have pauses between them


def test_longest_waits_are_as_documented() -> None:
    assert login_client.CONNECT_TIMEOUT <= 15
    pauses = sum(
        min(connector_module.RETRY_PAUSE * 2**number, connector_module.MAX_RETRY_PAUSE) * 1.5
        for number in range(connector_module.MAX_ATTEMPTS - 1)
    )
    assert pauses <= 15
    assert connector_module.KEEPALIVE_INTERVAL * (connector_module.KEEPALIVE_MISSES + 1) < 30


async def test_half_open_connection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector_module, "KEEPALIVE_INTERVAL", 0.1)
    with HostileSSH(Mode.FROZEN) as server:
        settings = settings_for(server)
        connection = await Connector(settings).with_password(
            settings.cluster(None), "alice", "secret", None
        )
        with pytest.raises(ContactLost):
            await run_command_line(connection, "any", None, 10)
        assert connection.is_closed()


# -- many at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 4])
async def test_many_handshakes_at_once_all_succeed(server: OpenSSH, processes: int) -> None:
    settings = settings_for(server)  # sshd: MaxStartups 10:30:100
    connectors = [Connector(settings) for _ in range(processes)]

    async def connect(connector: Connector) -> None:
        async with await connector.with_password(
            settings.cluster(None), ALICE.name, ALICE.password, None
        ):
            pass

    said = SaidBy(server)
    await asyncio.gather(*(connect(connectors[n % processes]) for n in range(30)))
    assert await said.attempts(30) == (30, 0)


async def test_cancelled_logins_release_their_handshakes() -> None:
    with HostileSSH(Mode.SILENT) as server:
        settings = settings_for(server)
        connector, cluster = Connector(settings), settings.cluster(None)
        handshakes = connector._handshakes[cluster.name]
        logins = [
            asyncio.create_task(connector.with_password(cluster, "alice", "any", None))
            for _ in range(12)
        ]
        for _ in range(500):
            if server.connections == START_HANDSHAKES:
                break
            await asyncio.sleep(0.01)
        assert handshakes.locked()
        for login in logins:
            login.cancel()
        ends = await asyncio.gather(*logins, return_exceptions=True)
        assert {type(each) for each in ends} == {asyncio.CancelledError}
        for _ in range(START_HANDSHAKES):
            assert not handshakes.locked()
            await handshakes.acquire()


async def test_waiting_for_a_handshake_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector_module, "HANDSHAKE_WAIT", 0.1)
    monkeypatch.setattr(login_client, "CONNECT_TIMEOUT", 0.5)
    with HostileSSH(Mode.SILENT) as server:
        settings = settings_for(server)
        connector, cluster = Connector(settings), settings.cluster(None)
        ends = await asyncio.gather(
            *(connector.with_password(cluster, "alice", "any", None) for _ in range(8)),
            return_exceptions=True,
        )
        assert {type(each) for each in ends} == {ClusterUnreachable}
        assert sum("too many" in str(each) for each in ends) == 8 - START_HANDSHAKES
        assert server.connections == START_HANDSHAKES
