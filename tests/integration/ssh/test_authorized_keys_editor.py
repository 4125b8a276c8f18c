"""Editing authorized_keys over SSH: only our own line changes, and the mode stays."""

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest
import pytest_asyncio

from resop.errors import ClusterError, StepTimedOut
from resop.ssh import authorized_keys_editor
from resop.ssh.authorized_keys import KeyLine, NodeClock, add_line, remove_lines
from resop.ssh.authorized_keys_editor import edit_authorized_keys
from tests.support.acl import acl_of, reason_without_acl, set_acl
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable

pytestmark = [pytest.mark.timeout(40), pytest.mark.asyncio(loop_scope="module")]

ALICE = Account("alice", "alice's password")
TOM = Account("tom", "tom's password", shell="/usr/bin/tcsh")
FRED = Account("fred", "fred's password", shell="/usr/bin/fish")
NORA = Account("nora", "nora's password")  # her .bashrc prints
ACCOUNTS = [ALICE, TOM, FRED, NORA]

INSTANCE = "0123456789abcdef"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBpWkvs2vcE2ErADxfAFdZaVtt8hMPKDTVUzzHqq5oBs"

CONTENTS = {
    "empty": b"",
    "one line": b"ssh-ed25519 AAAA alice@laptop\n",
    "no final newline": b"ssh-ed25519 AAAA alice@laptop",
    "CRLF": b"ssh-ed25519 AAAA alice@laptop\r\nssh-rsa AAAA other\r\n",
    "NUL and no UTF-8": b"ssh-ed25519 AAAA \xff\x00\xfe\n\x00\n\n",
    "odd options": (
        b'command="echo \\"hi; rm -rf $HOME\\" `id`",no-pty,from="10.0.0.0/8,!10.1.1.1" ssh-rsa A\n'
        b"   # a comment with 'quotes' and \\backslashes\\ \t\n"
        b'environment="A=%d{b}" ssh-ed25519 AAAA \n'
        b"\n\n-rf ~/*\n"
    ),
    "looks like ours": b'restrict,expiry-time="20200101000000" ssh-ed25519 AAAA resop:beef:01\n',
    "only newlines": b"\n\n\n",
    "half a megabyte": b"ssh-ed25519 AAAA somebody\n" * 20_000,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    with OpenSSH(tmp_path_factory.mktemp("keyfile"), ACCOUNTS, config="MaxSessions 20") as running:
        noise = "echo '1 2 3'; echo absent; printf 'no end'; echo motd >&2\n"
        (running.home(NORA.name) / ".bashrc").write_text(noise)
        yield running


@pytest.fixture(autouse=True)
def _fresh_home(server: OpenSSH) -> Iterator[None]:
    yield
    for account in ACCOUNTS:
        home = server.home(account.name)
        home.chmod(0o700)
        shutil.rmtree(home / ".ssh", ignore_errors=True)


async def login(server: OpenSSH, account: Account = ALICE) -> asyncssh.SSHClientConnection:
    return await server.login(account.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(server: OpenSSH) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """One connection of Alice for all tests: a login takes longer than most of them."""
    async with await login(server) as connection:
        yield connection


def keys_of(server: OpenSSH, account: Account = ALICE) -> Path:
    return server.home(account.name) / ".ssh" / "authorized_keys"


def place(
    server: OpenSSH, content: bytes | None, account: Account = ALICE, mode: int = 0o600
) -> Path:
    """Make the account's authorized_keys, or only its folder, as the account would."""
    file = keys_of(server, account)
    file.parent.mkdir(mode=0o700)
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    for path in (file.parent, *file.parent.iterdir()):
        os.chown(path, server.uid(account.name), server.uid(account.name))
    return file


def a_line(hours: float = 8) -> KeyLine:
    return KeyLine(PUBLIC, INSTANCE, str(uuid.uuid4()), expiry(hours))


def expiry(hours: float) -> str:
    now = datetime.now(UTC)
    return NodeClock(now, timedelta(0), utc=True).stamp(now + timedelta(hours=hours))


async def add(connection: asyncssh.SSHClientConnection, line: KeyLine) -> None:
    await edit_authorized_keys(connection, lambda content, clock: add_line(content, line, clock))


async def remove(connection: asyncssh.SSHClientConnection, line: KeyLine) -> None:
    await edit_authorized_keys(
        connection,
        lambda content, clock: remove_lines(content, {INSTANCE}, {line.credential}, clock),
    )


def state(file: Path) -> tuple[bytes, int, int, int]:
    status = file.stat()
    return file.read_bytes(), status.st_mode & 0o7777, status.st_uid, status.st_gid


def leftovers(server: OpenSSH, account: Account = ALICE) -> list[str]:
    """List the other files in its folder."""
    return sorted(set(os.listdir(keys_of(server, account).parent)) - {"authorized_keys"})


# -- what is there stays --------------------------------------------------------------------


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
async def test_other_bytes_do_not_change(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, content: bytes
) -> None:
    file = place(server, content)
    before, line = state(file), a_line()
    await add(shared, line)
    assert state(file) == (line.render() + content, *before[1:])
    await remove(shared, line)
    assert state(file) == before
    assert leftovers(server) == []


@pytest.mark.parametrize("folder", [True, False], ids=["folder there", "no folder"])
async def test_missing_file_is_made_for_its_user_only(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, folder: bool
) -> None:
    file, line, uid = keys_of(server), a_line(), server.uid(ALICE.name)
    if folder:
        place(server, None)
    await add(shared, line)
    assert state(file) == (line.render(), 0o600, uid, uid)
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.parent.stat().st_uid == uid
    await remove(shared, line)
    assert file.read_bytes() == b""
    assert leftovers(server) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o444, 0o400], ids=oct)
async def test_mode_does_not_change(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, mode: int
) -> None:
    file, line = place(server, b"a line\n", mode=mode), a_line()
    before = state(file)
    await add(shared, line)
    assert state(file) == (line.render() + b"a line\n", *before[1:])
    await remove(shared, line)
    assert state(file) == before


async def test_symbolic_link_is_followed_and_stays(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    file, line = place(server, b"a line\n"), a_line()
    target = server.home(ALICE.name) / "the 'real' keys"
    file.rename(target)
    file.symlink_to("../the 'real' keys")
    await add(shared, line)
    assert target.read_bytes() == line.render() + b"a line\n"
    await remove(shared, line)
    assert file.is_symlink()
    assert target.read_bytes() == b"a line\n"
    target.unlink()


async def test_link_to_a_missing_file_makes_that_file(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    file, line = place(server, None), a_line()
    file.symlink_to(ALICE.home / "later")  # as the account itself sees it
    await add(shared, line)
    target = server.home(ALICE.name) / "later"
    assert target.read_bytes() == line.render()
    assert file.is_symlink()
    target.unlink()


@pytest.mark.parametrize("account", [TOM, FRED, NORA], ids=lambda account: account.name)
async def test_login_shell_and_its_noise_make_no_difference(
    server: OpenSSH, account: Account
) -> None:
    content = CONTENTS["odd options"] + CONTENTS["NUL and no UTF-8"]
    file, line = place(server, content, account), a_line()
    async with await login(server, account) as connection:
        await add(connection, line)
        assert file.read_bytes() == line.render() + content
        await remove(connection, line)
    assert file.read_bytes() == content
    assert leftovers(server, account) == []


async def test_key_that_was_added_opens_a_session_until_it_expires(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key("openssh").decode().strip()
    place(server, b"no final newline")

    async def opens() -> bool:
        try:
            async with asyncssh.connect(
                server.host,
                server.port,
                username=ALICE.name,
                client_keys=[key],
                known_hosts=str(server.known_hosts),
                agent_path=None,
                config=None,
            ):
                opened = True
        except asyncssh.PermissionDenied:
            opened = False
        return opened

    for hours, expected in ((8, True), (-1, False)):
        line = KeyLine(public, INSTANCE, "0", expiry(hours))
        await edit_authorized_keys(shared, lambda *_, line=line: line.render())
        assert await opens() is expected


ZONES = ["Pacific/Honolulu", "America/New_York", "Asia/Tokyo", "Europe/Berlin", "nonsense", ""]


@pytest.mark.parametrize("account", [ALICE, TOM, FRED], ids=["bash", "tcsh", "fish"])
@pytest.mark.parametrize("zone", ZONES)
async def test_expiry_does_not_depend_on_the_users_time_zone(
    server: OpenSSH, zone: str, account: Account
) -> None:
    home, clocks = server.home(account.name), []
    name, text = {
        ALICE: (".bashrc", f"export TZ='{zone}'\nreadonly TZ\n"),
        TOM: (".tcshrc", f"setenv TZ '{zone}'\n"),
        FRED: (".config/fish/config.fish", f"set -x TZ '{zone}'\n"),
    }[account]
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)

    def edit(content: bytes, clock: NodeClock) -> bytes:
        clocks.append(clock)
        return content

    try:
        async with await login(server, account) as connection:
            await edit_authorized_keys(connection, edit)
    finally:
        file.unlink()
    (clock,) = clocks
    assert abs(clock.now - datetime.now(UTC)) < timedelta(seconds=30)
    assert clock.standard_offset == STANDARD_OFFSET
    assert clock.utc  # the sshd of the tests is not older than 9.1


STANDARD_OFFSET = timedelta(seconds=-time.timezone)
"""The offset of this machine's zone, which is that of the sshd of the tests."""


async def test_acl_of_the_file_is_kept(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    need(reason_without_acl(server.home(ALICE.name)))
    file = place(server, b"a line\n")
    set_acl(file, f"u:{server.uid(TOM.name)}:r")
    before = acl_of(file)
    await add(shared, a_line())
    assert acl_of(file) == before


# -- several at once ------------------------------------------------------------------------


async def test_concurrent_edits_are_all_written(server: OpenSSH) -> None:
    file, lines = place(server, b"a line"), [a_line() for _ in range(10)]
    async with await login(server) as one, await login(server) as other:
        await asyncio.gather(
            *(add((one, other)[number % 2], line) for number, line in enumerate(lines))
        )
        content = file.read_bytes()
        assert sorted(content.splitlines()[:-1]) == sorted(line.render()[:-1] for line in lines)
        assert content.endswith(b"\na line")
        await asyncio.gather(
            *(remove((one, other)[number % 2], line) for number, line in enumerate(lines))
        )
    assert file.read_bytes() == b"a line"
    assert leftovers(server) == []


async def test_concurrent_edit_by_somebody_else_is_not_overwritten(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    file, line, calls = place(server, b"before\n"), a_line(), 0

    def edit(content: bytes, clock: NodeClock) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:  # between our reading and our writing
            with file.open("ab") as stream:
                stream.write(b"by ssh-copy-id\n")
        return add_line(content, line, clock)

    await edit_authorized_keys(shared, edit)
    assert calls == 2
    assert file.read_bytes() == line.render() + b"before\nby ssh-copy-id\n"


async def test_edit_of_a_file_that_keeps_changing_is_given_up(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authorized_keys_editor, "EDIT_TIMEOUT", 0.5)
    file, calls = place(server, b"before\n"), 0

    def edit(content: bytes, clock: NodeClock) -> bytes:
        nonlocal calls
        calls += 1
        file.write_bytes(b"theirs %d\n" % calls)
        return b"ours\n"

    with pytest.raises(ClusterError, match="somebody else keeps changing it"):
        await edit_authorized_keys(shared, edit)
    assert file.read_bytes() == b"theirs %d\n" % calls
    assert leftovers(server) == []


def lock(server: OpenSSH, age: float) -> Path:
    made = keys_of(server).with_name("authorized_keys.resop-lock")
    made.mkdir()
    os.chown(made, server.uid(ALICE.name), server.uid(ALICE.name))
    os.utime(made, (time.time() - age, time.time() - age))
    return made


async def test_lock_of_a_dead_edit_is_removed(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    file, lines = place(server, b"a line\n"), [a_line() for _ in range(3)]
    lock(server, age=130)
    await asyncio.gather(*(add(shared, line) for line in lines))
    assert set(file.read_bytes().splitlines(keepends=True)) == {
        b"a line\n",
        *(line.render() for line in lines),
    }
    assert leftovers(server) == []


async def test_lock_of_a_running_edit_is_respected(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, line = place(server, b"a line\n"), a_line()
    held = lock(server, age=1)
    adding = asyncio.create_task(add(shared, line))
    await asyncio.sleep(0.5)
    assert file.read_bytes() == b"a line\n"
    held.rmdir()
    await adding
    assert file.read_bytes() == line.render() + b"a line\n"

    held = lock(server, age=1)
    monkeypatch.setattr(authorized_keys_editor, "EDIT_TIMEOUT", 0.0)
    monkeypatch.setattr(
        authorized_keys_editor, "_WRITE", authorized_keys_editor._WRITE.replace("-lt 50", "-lt 3")
    )
    with pytest.raises(ClusterError, match="another login is changing it"):
        await remove(shared, line)
    assert file.read_bytes() == line.render() + b"a line\n"
    assert held.is_dir()


# -- what cannot be done --------------------------------------------------------------------


async def test_file_of_another_user_is_not_changed(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    file = place(server, b"root's line\n", mode=0o644)
    os.chown(file, 0, 0)
    before = state(file)
    with pytest.raises(ClusterError, match="belongs to another user or group"):
        await add(shared, a_line())
    assert state(file) == before
    assert leftovers(server) == []


async def test_unreadable_file_is_an_error_with_the_reason(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    file = place(server, b"root's line\n", mode=0o600)
    os.chown(file, 0, 0)
    with pytest.raises(ClusterError, match=r"cannot be read: .*Permission denied"):
        await add(shared, a_line())
    assert file.read_bytes() == b"root's line\n"


@pytest.mark.parametrize("folder", [True, False], ids=["folder there", "no folder"])
async def test_read_only_home_is_an_error_at_once(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, folder: bool
) -> None:
    home = server.home(ALICE.name)
    if folder:
        place(server, b"a line\n")
        keys_of(server).parent.chmod(0o500)
    home.chmod(0o500)
    begin = time.monotonic()
    with pytest.raises(ClusterError, match=r"cannot be written: .*Permission denied"):
        await add(shared, a_line())
    assert time.monotonic() - begin < 3
    if folder:
        assert keys_of(server).read_bytes() == b"a line\n"


async def test_full_disk_does_not_change_the_file(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    content = b"ssh-ed25519 AAAA somebody\n" * 4000
    file = place(server, content)
    # the smallest stand-in for a full disk: no file may grow beyond 64 KiB
    small = authorized_keys_editor._WRITE.replace(
        "new=$(mktemp", "trap '' XFSZ; ulimit -f 64; new=$(mktemp"
    )
    assert small != authorized_keys_editor._WRITE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authorized_keys_editor, "_WRITE", small)
        with pytest.raises(ClusterError, match="cannot be written: "):
            await add(shared, a_line())
    assert file.read_bytes() == content
    assert leftovers(server) == []


@pytest.mark.parametrize("size", [0, 1, 10_000])
async def test_truncated_write_does_not_change_the_file(
    server: OpenSSH,
    shared: asyncssh.SSHClientConnection,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    file = place(server, b"a line\n")

    def cut(before: bytes, after: bytes) -> list[str]:
        return [f"head -c {size} /dev/zero"]

    monkeypatch.setattr(authorized_keys_editor, "_commands", cut)
    with pytest.raises(ClusterError, match="cannot be written"):
        await edit_authorized_keys(shared, lambda *_: b"x" * 20_000)
    assert file.read_bytes() == b"a line\n"
    assert leftovers(server) == []


async def test_killed_edit_does_not_change_the_file(
    server: OpenSSH, shared: asyncssh.SSHClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place(server, b"a line\n")
    hanging = authorized_keys_editor._WRITE.replace("cp --attr", "sleep 300; cp --attr")
    monkeypatch.setattr(authorized_keys_editor, "_WRITE", hanging)
    monkeypatch.setattr(authorized_keys_editor, "SCRIPT_TIMEOUT", 0.4)
    with pytest.raises(StepTimedOut):
        await add(shared, a_line())
    assert file.read_bytes() == b"a line\n"
    assert server.processes(ALICE.name) == []
    assert leftovers(server) == []  # it got the time to tidy up


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("date() { echo today; }", "cannot be read: .*date.*today"),
        ("date() { :; }", "cannot be read: .*date"),
        ("cksum() { return 127; }", "cannot be read: exit code 127"),
    ],
)
async def test_missing_program_on_the_node_is_an_error(
    server: OpenSSH,
    shared: asyncssh.SSHClientConnection,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    says: str,
) -> None:
    place(server, b"a line\n")
    monkeypatch.setattr(
        authorized_keys_editor, "_FIND", f"{program}\n{authorized_keys_editor._FIND}"
    )
    with pytest.raises(ClusterError, match=says):
        await add(shared, a_line())


async def test_file_of_more_than_a_megabyte_is_not_changed(
    server: OpenSSH, shared: asyncssh.SSHClientConnection
) -> None:
    file = place(server, b"x" * ((1 << 20) + 1))
    with pytest.raises(ClusterError, match="too large"):
        await add(shared, a_line())
    assert file.stat().st_size == (1 << 20) + 1
