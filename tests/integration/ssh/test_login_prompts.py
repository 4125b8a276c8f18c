"""Prompts of real PAM stacks, and of a server that asks in any words."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import asyncssh
import pytest
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL
from paramiko.server import InteractiveQuery

from resop.config.settings import Settings
from resop.errors import (
    ClusterUnreachable,
    KeyRefused,
    LoginRefused,
    OtpRequired,
    PasswordExpired,
    ResopError,
)
from resop.ssh import login_client
from resop.ssh.connector import Connector
from tests.support import hostile
from tests.support.hostile import HostileSSH, Mode
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.services import eventually
from tests.support.testbed import totp

pytestmark = pytest.mark.timeout(30)

ALICE = Account("alice", "alice's password")
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
REST = """
account  required pam_unix.so
session  required pam_permit.so
password required pam_deny.so
"""
GOOGLE = "pam_google_authenticator.so secret=/mnt/totp/${USER} user=root no_increment_hotp nullok"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    folder = tmp_path_factory.mktemp("ssh")
    # ISO 8859-1, as many an /etc/issue.net: "Bienvenue à l'école".
    (folder / "banner").write_bytes(b"Bienvenue \xe0 l'\xe9cole\n")
    config = "Banner /mnt/banner\nMatch User bob\nAuthenticationMethods publickey,password password"
    with OpenSSH(folder, [ALICE, Account("bob", "bob's password")], config=config) as server:
        (folder / "totp").mkdir(mode=0o700)
        yield server


@pytest.fixture
def server(machine: OpenSSH) -> Iterator[OpenSSH]:
    yield machine
    machine.set_pam()


@pytest.fixture
def google(server: OpenSSH) -> OpenSSH:
    """Give alice a second factor."""
    modules = list(Path("/").glob("lib/*/security/pam_google_authenticator.so"))
    need(None if modules else "pam_google_authenticator is missing")
    file = server.folder / "totp" / ALICE.name
    file.write_text(f'{TOTP_SECRET}\n" WINDOW_SIZE 3\n" TOTP_AUTH\n')
    file.chmod(0o400)
    return server


def settings(server: OpenSSH | HostileSSH, **others: object) -> Settings:
    if isinstance(server, OpenSSH):
        known = str(server.known_hosts)
    else:
        _, key = server.known_hosts_line.split(maxsplit=1)
        known = asyncssh.import_public_key(key).get_fingerprint()
    values = {"CLUSTER_ADDRESS": server.host, "CLUSTER_SSH_PORT": server.port, "KNOWN_HOSTS": known}
    return Settings.model_validate({**values, **others})


async def log_in(
    server: OpenSSH | HostileSSH,
    password: str = ALICE.password,
    otp: str | None = None,
    **others: object,
) -> None:
    site = settings(server, **others)
    cluster = site.cluster(None)
    (await Connector(site).with_password(cluster, ALICE.name, password, otp)).close()


async def refusal(
    server: OpenSSH | HostileSSH,
    password: str = ALICE.password,
    otp: str | None = None,
    **others: object,
) -> ResopError:
    with pytest.raises(ResopError) as caught:
        await log_in(server, password, otp, **others)
    return caught.value


# -- stacks of PAM ----------------------------------------------------------------------------


async def test_google_authenticator_in_every_position(google: OpenSSH) -> None:
    (google.folder / "notice").write_text("Have the code of your token ready.\n")
    notice = "auth optional pam_echo.so file=/mnt/notice\n"
    password = "auth requisite pam_unix.so nodelay\n"
    for stack in (
        f"auth required {GOOGLE}\n{password}",
        f"{password}{notice}auth required {GOOGLE} echo_verification_code\n",
        f"{notice}{password}auth required {GOOGLE}\n",
        # One prompt for both: "Password & verification code: ".
        f"auth required {GOOGLE} forward_pass\nauth required pam_unix.so nodelay use_first_pass\n",
    ):
        google.set_pam(stack + REST)
        await log_in(google, otp=totp(TOTP_SECRET))
        without = await refusal(google)
        assert type(without) is OtpRequired, stack
        assert type(await refusal(google, "wrong", totp(TOTP_SECRET))) is LoginRefused, stack
        assert type(await refusal(google, otp="000000")) is LoginRefused, stack


async def test_a_wrong_answer_counts_once_where_accounts_are_locked(google: OpenSSH) -> None:
    lock, unix = "pam_faillock.so dir=/mnt/faillock deny=2 nodelay", "pam_unix.so nodelay"
    for first, second in ((GOOGLE, unix), (unix, GOOGLE)):
        stack = (
            f"auth required {lock} preauth\n"
            f"auth [success=1 default=ignore] {first}\nauth [default=die] {lock} authfail\n"
            f"auth [success=1 default=ignore] {second}\nauth [default=die] {lock} authfail\n"
            "auth required pam_permit.so\n"
        )
        google.set_pam(stack + REST + f"account required {lock}\n")
        for password, otp in (("wrong", totp(TOTP_SECRET)), (ALICE.password, "000000")):
            assert type(await refusal(google, password, otp)) is LoginRefused
            assert type(await refusal(google)) is OtpRequired  # a missing code does not count
            await log_in(google, otp=totp(TOTP_SECRET))  # and this sets the count to zero
    for _ in range(2):
        await refusal(google, "wrong", totp(TOTP_SECRET))
    locked = await refusal(google, otp=totp(TOTP_SECRET))
    assert type(locked) is LoginRefused
    assert "locked" in locked.message
    (google.folder / "faillock" / ALICE.name).unlink()


async def test_a_refusal_in_the_account_phase_says_what_pam_says(server: OpenSSH) -> None:
    (server.folder / "why").write_text("Your project ended in May: write to support.\n")
    stack = (
        "auth required pam_unix.so nodelay\n"
        "account optional pam_echo.so file=/mnt/why\n"
        "account required pam_deny.so\n"
        "session required pam_permit.so\n"
    )
    server.set_pam(stack)
    refused = await refusal(server)
    assert type(refused) is LoginRefused
    assert "Your project ended in May" in refused.message


async def test_the_account_phase_may_take_long_for_password_and_key(
    server: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_client, "CONNECT_TIMEOUT", 1.0)
    script = server.folder / "slow"
    script.write_text("#!/bin/sh\nexec sleep 1.5\n")
    script.chmod(0o755)
    slow = "account required pam_exec.so quiet /mnt/slow\n"
    server.set_pam("auth required pam_unix.so nodelay\n" + slow + REST)
    key = asyncssh.generate_private_key("ssh-ed25519")
    server.authorize(ALICE.name, f"restrict {key.export_public_key().decode()}")
    private = key.export_private_key("openssh")

    async def with_key(**others: object) -> None:
        site = settings(server, **others)
        (await Connector(site).with_key(site.cluster(None), ALICE.name, private)).close()

    await asyncio.gather(log_in(server), with_key())
    began = time.monotonic()
    impatient = await asyncio.gather(
        log_in(server, LOGIN_SECONDS=1), with_key(LOGIN_SECONDS=1), return_exceptions=True
    )
    assert {type(each) for each in impatient} == {ClusterUnreachable}
    assert "LOGIN_SECONDS" in str(impatient[0])
    assert time.monotonic() - began < 5


async def test_a_key_that_is_not_enough_is_distinguished_from_one_that_is_refused(
    server: OpenSSH,
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    site = settings(server)
    for known in (False, True):
        if known:
            server.authorize("bob", f"restrict {key.export_public_key().decode()}")
        with pytest.raises(KeyRefused) as caught:
            await Connector(site).with_key(
                site.cluster(None), "bob", key.export_private_key("openssh")
            )
        assert caught.value.details == ({"another_factor": True} if known else {})


@pytest.mark.parametrize(
    "methods", ["password,keyboard-interactive", "keyboard-interactive,password"]
)
async def test_a_second_method_may_ask_for_the_password_again(tmp_path: Path, methods: str) -> None:
    need(reason_unavailable())
    config = f"AuthenticationMethods {methods}"
    with OpenSSH(tmp_path, [ALICE], config=config) as server:
        await log_in(server)
        assert type(await refusal(server, "wrong")) is LoginRefused
        # sshd writes its log a little later than it answers, and the end of a connection last.
        closed = re.compile(
            r"^(?:Connection (?:closed|reset)|Disconnected) .*preauth", re.MULTILINE
        )
        assert eventually(lambda: closed.search(server.log.read_text()))
        assert len(re.findall(r"^Failed \S+ for", server.log.read_text(), re.MULTILINE)) == 1


async def test_an_sshd_without_prompts_of_its_own_gets_the_password(tmp_path: Path) -> None:
    need(reason_unavailable())
    # It offers keyboard-interactive, and refuses it without a question.
    with OpenSSH(tmp_path, [ALICE], config="UsePAM no\nMaxAuthTries 3") as server:
        await log_in(server)
        assert type(await refusal(server, "wrong")) is LoginRefused


# -- prompts of other sites -------------------------------------------------------------------

Prompt = str | tuple[str, bool]


def ask(
    monkeypatch: pytest.MonkeyPatch, rounds: Sequence[Sequence[Prompt]], answers: Sequence[str]
) -> list[str]:
    """Make HostileSSH ask in rounds, and want these answers; return the list of given ones."""
    given: list[str] = []
    left = [*rounds]

    def query(self: hostile._Session, *_: object) -> InteractiveQuery:
        prompts = [each if isinstance(each, tuple) else (each, False) for each in left.pop(0)]
        return InteractiveQuery("", "", *prompts)

    def check(self: hostile._Session, responses: list[str]) -> int | InteractiveQuery:
        given.extend(responses)
        if given != list(answers[: len(given)]):
            return AUTH_FAILED
        return query(self) if left else AUTH_SUCCESSFUL

    monkeypatch.setattr(hostile._Session, "check_auth_interactive", query)
    monkeypatch.setattr(hostile._Session, "check_auth_interactive_response", check)
    return given


CODE = "123456"


@pytest.mark.parametrize(
    ("rounds", "otp", "answers", "prompts"),
    [
        pytest.param([["First Factor: "], ["Second Factor: "]], CODE, ["pw", CODE], {}, id="sssd"),
        pytest.param([["Password + OTP: "]], CODE, ["pw" + CODE], {}, id="sssd-single"),
        pytest.param([["First Factor: "], ["Second Factor (optional): "]], None, ["pw", ""], {}),
        pytest.param([["Password for alice@code.example:"]], None, ["pw"], {}, id="freebsd"),
        pytest.param([["TACACS Password: "]], None, ["pw"], {}, id="tacacs"),
        pytest.param([["Enter PASSCODE: "]], CODE, [CODE], {}, id="securid"),
        pytest.param(
            [["Enter PASSCODE: "]], None, ["pw"], {"PASSCODE": "password"}, id="passcode-only"
        ),
        pytest.param([["Salasana:\u00a0\u200b"]], None, ["pw"], {}, id="invisible"),
        pytest.param(
            [[("Accept the terms (yes/no)? ", True)], ["Password: "], [("Press Enter", True)]],
            None,
            ["yes", "pw", ""],
            {"accept the terms": "text:yes", "^press enter": "enter"},
            id="terms",
        ),
        pytest.param(
            [["Password: "], ["Password: "]],
            CODE,
            ["pw", CODE],
            {"^password": ["password", "otp"]},
            id="unix-and-radius",
        ),
    ],
)
async def test_prompts_of_other_sites_are_answered(
    monkeypatch: pytest.MonkeyPatch,
    rounds: Sequence[Sequence[Prompt]],
    otp: str | None,
    answers: list[str],
    prompts: Mapping[str, object],
) -> None:
    given = ask(monkeypatch, rounds, answers)
    with HostileSSH(Mode.OTP) as server:
        await log_in(server, "pw", otp, CLUSTER_PROMPTS=prompts)
    assert given == answers


@pytest.mark.parametrize(
    ("rounds", "otp", "fault", "given"),
    [
        ([["Password: "], ["Password: "]], CODE, LoginRefused, ["pw"]),
        ([["Password: "], ["Current password: "]], None, PasswordExpired, ["pw"]),
        ([["Password: "], ["New password: "]], CODE, PasswordExpired, ["pw"]),
        ([["PASSCODE: "], ["Enter Next Tokencode: "]], CODE, OtpRequired, [CODE]),
        ([["PASSCODE: "], ["Enter your new PIN: "]], CODE, PasswordExpired, [CODE]),
        ([[("Accept? (yes/no) ", True)]], CODE, LoginRefused, []),
        ([["Password: ", "Token: "]], None, OtpRequired, []),
        ([["Password: "], [("Passcode or option (1-2): ", True)]], None, OtpRequired, ["pw"]),
    ],
)
async def test_what_cannot_be_answered_ends_the_login(
    monkeypatch: pytest.MonkeyPatch,
    rounds: Sequence[Sequence[Prompt]],
    otp: str | None,
    fault: type[ResopError],
    given: list[str],
) -> None:
    got = ask(monkeypatch, rounds, ["pw" if otp is None or given[:1] == ["pw"] else CODE])
    with HostileSSH(Mode.OTP) as server:
        refused = await refusal(server, "pw", otp)
        assert server.connections == 1
    assert (type(refused), got) == (fault, given)
