"""One account is one user, whatever is typed at login, and whatever its session claims to be.

On a cluster of its own with accounts that look alike, and with accounts that lie.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from zlib import crc32

import httpx
import pytest

from resop.plain_text import one_line
from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH
from tests.support.openssh import reason_unavailable as no_openssh
from tests.support.service import Caller, Embedded, cluster_settings, failure, run_resop
from tests.support.services import eventually
from tests.unit.security.test_login_name import DISGUISES

PASSWORD = "the same for all"
ACCOUNTS = {
    account.name: account
    for account in [
        Account("alice", PASSWORD),
        Account("Alice", PASSWORD, alias_of="alice"),
        Account("alias", PASSWORD, alias_of="alice"),
        Account("bob", PASSWORD),
        Account("Bob", PASSWORD),
        Account("CORP\\bob", PASSWORD),
        Account("bob@corp.example", PASSWORD),
        Account("walter", PASSWORD),
        Account("muller", PASSWORD),
        Account("müller", PASSWORD),
        Account("日本", PASSWORD),
        Account("node$", PASSWORD, "/bin/sh"),
        Account("tina", PASSWORD, "/usr/bin/tcsh"),
        Account("fiona", PASSWORD, "/usr/bin/fish"),
        *(Account(f"eve{number}", PASSWORD) for number in range(10)),
        Account("mallory", PASSWORD),
        Account("forced", PASSWORD),
        Account("nologin", PASSWORD, "/usr/sbin/nologin"),
    ]
}
POLICY = """\
default: deny
rules:
  - deny: core:script
    users: alice
  - allow: core:script
    users: "*"
  - allow: utils:id
    users: "*-admin"
  - allow: utils:hostname
    rate: 2
  - allow: [core:run, utils:echo]
"""
SCRIPT = {"script": "#!/bin/sh\nid -un\n"}


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[OpenSSH]:
    need(no_openssh())
    for account in ACCOUNTS.values():
        need(None if Path(account.shell).exists() else f"{account.shell} is missing")
    config = "Match User forced\n  ForceCommand internal-sftp\n"
    with OpenSSH(folder / "i", list(ACCOUNTS.values()), config=config) as server:
        yield server


@pytest.fixture(scope="module")
def one(folder: Path, cluster: OpenSSH) -> Iterator[Embedded]:
    policy = folder / "identity.yml"
    policy.write_text(POLICY)
    settings = {
        **cluster_settings(cluster),
        "POLICY_FILE": policy,
        "TRUSTED_PROXIES": "127.0.0.1",  # each test's logins come from an address of their own
    }
    with Embedded(folder / "one", settings) as started:
        yield started


def log_in(
    service: Embedded, name: str, password: str = PASSWORD, address: str | None = None
) -> httpx.Response:
    """Log in with a name of any characters, lone surrogates included."""
    body = json.dumps({"username": name, "password": password})
    address = address or f"10.0.{crc32(ascii(name).encode()) % 65536 // 256}.1"
    headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
    return service.caller().http.post("/auth/opn/login", content=body.encode(), headers=headers)


def caller(service: Embedded, name: str) -> Caller:
    answer = log_in(service, name)
    assert answer.status_code == 200, answer.text
    return service.caller(answer.json()["output"]["token"])


def write_rc(cluster: OpenSSH, name: str, text: str) -> None:
    file = cluster.home(name) / ".bashrc"
    file.write_text(text)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_name_is_refused_before_sshd_is_asked(
    one: Embedded, cluster: OpenSSH, disguise: str
) -> None:
    before = cluster.log.read_bytes().count(b"Connection from")
    error = failure(log_in(one, DISGUISES[disguise]), 422)
    assert error["type"] == "InvalidOptions" and error["message"].isprintable()
    assert cluster.log.read_bytes().count(b"Connection from") == before


@pytest.mark.parametrize(
    ("typed", "identity"),
    [
        *((name, name) for name in ("alice", "bob", "Bob", "CORP\\bob", "bob@corp.example")),
        *((name, name) for name in ("muller", "müller", "日本", "node$", "tina", "fiona")),
        *((name, "alice") for name in ("Alice", "alias")),
    ],
)
def test_the_user_is_who_the_cluster_says(one: Embedded, typed: str, identity: str) -> None:
    answer = log_in(one, typed)
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"]["username"] == identity
    ran = one.caller(answer.json()["output"]["token"]).run("id -un")
    assert ran.json()["output"]["stdout"] == f"{identity}\n"
    listed = run_resop(one.folder, "keys", "--user", f"{identity}@hpc").stdout
    assert one_line(identity) in listed


def test_accounts_that_look_alike_share_nothing(one: Embedded) -> None:
    alike = ["bob", "Bob", "CORP\\bob", "bob@corp.example", "muller", "müller"]
    callers = {name: caller(one, name) for name in alike}
    tasks = {name: each.begin("utils/cmd/echo", {"input": "x"}) for name, each in callers.items()}
    for name, each in callers.items():
        assert tasks[name] in each.newest("task")
        for other, task in tasks.items():
            assert each.http.get(f"/tasks/{task}").status_code == (200 if other == name else 404)


def test_another_name_of_an_account_passes_no_rule_rate_or_history(one: Embedded) -> None:
    alice, other = caller(one, "alice"), caller(one, "Alice")
    for each in (alice, other):
        error = failure(each.post("core/opn/script", SCRIPT), 403)
        assert error["message"].endswith("denies core:script to the user alice")
    assert caller(one, "bob").post("core/opn/script", SCRIPT).status_code == 200
    task = alice.begin("utils/cmd/echo", {"input": "x"})
    assert task in other.newest("task")
    answers: list[int] = []
    while len(answers) < 6:  # a new minute may begin meanwhile
        answers.append((alice, other)[len(answers) % 2].post("utils/cmd/hostname").status_code)
        if answers[-1] == 429:
            break
    assert answers[-1] == 429


def test_revocation_and_audit_find_every_name_of_an_account(one: Embedded) -> None:
    callers = [caller(one, name) for name in ("alice", "Alice", "alias")]
    callers[1].run("echo whose")
    entries = run_resop(one.folder, "audit", "--user", "alice@hpc", "--format", "ndjson").stdout
    assert "echo whose" in entries
    assert "echo whose" not in run_resop(one.folder, "audit", "--user", "Alice@hpc").stdout
    assert run_resop(one.folder, "keys", "--user", "alice@other").stdout.count("\n") == 1
    assert run_resop(one.folder, "keys", "--user", "alice@hpc", "--revoke").returncode == 0
    for each in callers:
        assert eventually(partial(_is_logged_out, each))


def _is_logged_out(caller: Caller) -> bool:
    return caller.http.get("/tasks").status_code == 401


CLAIM = "exec > >(sed -u 's/ uid [0-9]*$/ uid 0/; s/ name {own}$/ name {other}/')\n"
"""A start-up file that changes what `id` prints."""
CLAIMED = {
    "eve0": "alice",
    "eve1": "root",
    "eve2": "x-admin",
    "eve3": "CORP\\\\bob",
    # Names that no account can have.
    "eve4": "a:b",
    "eve5": "*",
    "eve6": "",
    "eve7": "a b",
    "eve8": "eve8\\\\n",
    "eve9": "\\xe2\\x81\\xa0eve9",
}


@pytest.mark.parametrize("name", CLAIMED)
def test_a_session_that_claims_to_be_somebody_else_is_refused(
    one: Embedded, cluster: OpenSSH, name: str
) -> None:
    write_rc(cluster, name, CLAIM.format(own=name, other=CLAIMED[name]))
    assert failure(log_in(one, name), 403)["type"] == "IdentityUnknown"
    keys = cluster.home(name) / ".ssh" / "authorized_keys"
    assert not keys.exists() or b" resop:" not in keys.read_bytes()


def test_such_logins_are_counted_as_failed(one: Embedded, cluster: OpenSSH) -> None:
    write_rc(cluster, "eve0", CLAIM.format(own="eve0", other="bob"))
    answers = [log_in(one, "eve0").status_code for _ in range(6)]
    assert answers[0] in (403, 429) and answers[-1] == 429


def test_a_session_cannot_keep_a_second_spelling_of_its_name(
    one: Embedded, cluster: OpenSSH
) -> None:
    write_rc(cluster, "alice", CLAIM.format(own="alice", other="Alice"))
    try:
        for typed in ("alice", "Alice"):
            assert log_in(one, typed).json()["output"]["username"] == "alice"
    finally:
        write_rc(cluster, "alice", "")


NOISE = """\
echo "uid 0 name root"; printf 'no newline'
id() {{ echo root; }}; alias id='echo root'; alias /usr/bin/id='echo root'
PATH=$HOME/bin:$PATH; mkdir -p ~/bin; printf '#!/bin/sh\\necho root\\n' >~/bin/id; chmod +x ~/bin/id
"""


def test_start_up_files_that_print_and_rename_change_nothing(
    one: Embedded, cluster: OpenSSH
) -> None:
    write_rc(cluster, "mallory", NOISE.format())
    assert log_in(one, "mallory").json()["output"]["username"] == "mallory"


@pytest.mark.parametrize(
    ("name", "cause", "printed"),
    [
        ("forced", "it may only transfer files", "sftp"),
        ("nologin", "its login shell is nologin", "not available"),
    ],
)
def test_where_no_command_runs_the_login_fails_and_says_why(
    one: Embedded, name: str, cause: str, printed: str
) -> None:
    error = failure(log_in(one, name), 403)
    assert error["type"] == "IdentityUnknown"
    assert cause in error["message"] and printed in error["message"]


def test_no_spelling_gets_further_attempts_at_a_password(one: Embedded, cluster: OpenSSH) -> None:
    def wrong(name: str) -> int:
        return log_in(one, name, "wrong", "10.1.1.1").status_code

    before = cluster.log.read_bytes().count(b"Failed password")
    spellings = ["walter", "WALTER", "CORP\\walter", "walter@corp.example", "X+walter", "wAlter"]
    answers = [wrong(name) for name in [*spellings, "walter@y", "Walter@z"]]
    assert answers == [401] * 5 + [429] * 3
    assert [wrong(f"walter:{number}") for number in range(40)] == [422] * 40
    assert cluster.log.read_bytes().count(b"Failed password") <= before + 5
    assert log_in(one, "muller", address="10.1.1.1").status_code == 200
