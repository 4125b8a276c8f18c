"""The user of a login, on a real sshd: one account has one name, or the login is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resop.config.settings import Settings
from resop.errors import AccessError, IdentityUnknown, LoginRefused
from resop.security.login_name import login_name_fault
from resop.ssh.connector import Connector
from resop.ssh.remote_account import RemoteAccount, fetch_account
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = pytest.mark.timeout(120)

PASSWORD = "the same for all"
ALICE = Account("alice", PASSWORD)
ALIAS = Account("alias", PASSWORD, alias_of="alice")
_SHELLS = {
    "/bin/bash": Account("bash", PASSWORD),
    "/bin/sh": Account("dash", PASSWORD, "/bin/sh"),
    "/usr/bin/tcsh": Account("tcsh", PASSWORD, "/usr/bin/tcsh"),
    "/usr/bin/fish": Account("fish", PASSWORD, "/usr/bin/fish"),
    "/usr/bin/zsh": Account("zsh", PASSWORD, "/usr/bin/zsh"),
}
SHELLS = {shell: account for shell, account in _SHELLS.items() if Path(shell).exists()}
NEAR = st.lists(
    st.sampled_from(["alice", "ali", "ce", "ALICE", "A", "é", "e\u0301", "\uff41", "@main", "+"])
    | st.sampled_from([":", "/", "\u00ad", "\u200b", "\u2060", " ", "\t", ".", "$", "\\", "-"])
    | st.characters(exclude_categories=["Cs"]),
    max_size=4,
).map("".join)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    accounts = [ALICE, ALIAS, *SHELLS.values()]
    with OpenSSH(tmp_path_factory.mktemp("ssh"), accounts) as running:
        yield running


@pytest.fixture(scope="module")
def site(server: OpenSSH) -> Settings:
    return Settings(
        CLUSTER_ADDRESS=server.host,
        CLUSTER_SSH_PORT=server.port,
        KNOWN_HOSTS=str(server.known_hosts),
    )


async def log_in(site: Settings, name: str, otp: str | None = None) -> RemoteAccount:
    connector = Connector(site)
    connection, account = await connector.account_with_password(
        site.cluster(None), name, PASSWORD, otp
    )
    async with connection:
        whose = await connection.run("id -un")
    assert str(whose.stdout) == f"{account.username}\n"
    return account


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(["alice", ""]), NEAR, st.sampled_from(["", "alice"]))
def test_whatever_is_typed_the_account_has_one_name(
    site: Settings, before: str, between: str, after: str
) -> None:
    name = before + between + after
    if login_name_fault(name) is not None:
        return
    try:
        account = asyncio.run(log_in(site, name))
    except AccessError:
        assert name != "alice"
    else:
        assert account.username == "alice"


async def test_another_name_of_the_number_is_the_first_one(site: Settings, server: OpenSSH) -> None:
    expected = RemoteAccount("alice", server.uid("alice"), ["alice"])
    assert await log_in(site, "alias") == expected
    assert await log_in(site, "alice") == expected


async def test_a_name_that_needs_another_code_is_refused_and_named(site: Settings) -> None:
    with pytest.raises(IdentityUnknown, match="calls this account alice: log in with that name"):
        await log_in(site, "alias", otp="123456")


async def test_a_wrong_password_is_refused_as_before(site: Settings) -> None:
    with pytest.raises(LoginRefused):
        await Connector(site).account_with_password(site.cluster(None), "alice", "wrong", None)


@pytest.mark.parametrize("shell", SHELLS)
async def test_every_login_shell_answers(server: OpenSSH, shell: str) -> None:
    account = SHELLS[shell]
    async with await server.login(account.name) as connection:
        found = await fetch_account(connection, "here")
    assert found == RemoteAccount(account.name, server.uid(account.name), [account.name])


@pytest.mark.parametrize(
    "rc",
    [
        "echo noise; echo more >&2; printf 'no newline'",
        "trap 'echo bye' EXIT",
        "set -eu",
        "export PATH=/nonexistent IFS=xyz LC_ALL=de_DE.ISO-8859-1",
        "id() { echo root; }; export -f id; alias id='echo root'",
        "head -c 300000 /dev/zero",
        "(sleep 0.2; echo late) &",
    ],
)
async def test_start_up_files_do_not_disturb_the_answer(server: OpenSSH, rc: str) -> None:
    file = server.home("bash") / ".bashrc"
    file.write_text(f"{rc}\n")
    try:
        async with await server.login("bash") as connection:
            assert (await fetch_account(connection, "here")).username == "bash"
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("rc", "said"),
    [
        (
            "echo maintenance today; exit",
            "ran no command on here: a forced command ran .*maintenance today",
        ),
        ("exec >/dev/null", r"start-up file .* \(exit, exec\)"),
        ("exec > >(sed -u 's/ name .*/ name /')", "does not name this account"),
        ("exec > >(sed -u 's/ uid .*/ uid x/')", "does not name this account"),
        ("exec > >(sed -u 's/ name .*/ name a b/')", "calls this account 'a b'; a name must not"),
    ],
)
async def test_a_session_that_does_not_answer_is_refused(
    server: OpenSSH, rc: str, said: str
) -> None:
    file = server.home("bash") / ".bashrc"
    file.write_text(f"{rc}\n")
    try:
        async with await server.login("bash") as connection:
            with pytest.raises(IdentityUnknown, match=said):
                await fetch_account(connection, "here")
    finally:
        file.unlink()
