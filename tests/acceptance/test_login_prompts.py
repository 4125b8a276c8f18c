"""Logins that fail after the password was accepted, and the traces that they leave."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import need
from tests.support.openssh import Account, OpenSSH, reason_unavailable
from tests.support.service import Caller, Embedded, cluster_settings, failure

ADA = Account("ada", "ada's password")
EVE = Account("eve", "eve's password")
"""Her key is accepted with her password only."""
STACK = """\
auth     optional pam_echo.so file=/mnt/notice
auth     required pam_unix.so nodelay
account  required pam_exec.so quiet /mnt/account
account  required pam_unix.so
session  required pam_permit.so
password required pam_deny.so
"""
# The first login is fast, the second one slow: that of the key.
SLOW_FOR_THE_KEY = """\
#!/bin/sh
[ -e /mnt/slow ] || exit 0
[ -e /mnt/seen ] || { touch /mnt/seen; exit 0; }
exec sleep 3
"""


@pytest.fixture(scope="module")
def node(folder: Path) -> Iterator[OpenSSH]:
    need(reason_unavailable())
    config = "Match User eve\nAuthenticationMethods publickey,password password"
    with OpenSSH(folder / "p", [ADA, EVE], pam=STACK, config=config) as server:
        (server.folder / "notice").write_text("Codes of tokens are needed from Monday on.\n")
        script = server.folder / "account"
        script.write_text(SLOW_FOR_THE_KEY)
        script.chmod(0o755)
        yield server


@pytest.fixture(scope="module")
def service(folder: Path, node: OpenSSH) -> Iterator[Embedded]:
    settings = {**cluster_settings(node), "LOGIN_SECONDS": 1}
    with Embedded(folder / "prompts", settings) as started:
        yield started


def lines(node: OpenSSH, account: Account = ADA) -> list[str]:
    file = node.home(account.name) / ".ssh" / "authorized_keys"
    return file.read_text().splitlines() if file.exists() else []


def log_in(service: Embedded) -> Caller:
    return service.log_in(ADA)


def test_a_key_check_that_takes_too_long_leaves_no_line(service: Embedded, node: OpenSSH) -> None:
    before = lines(node)
    (node.folder / "slow").touch()
    try:
        error = failure(service.caller().login(ADA.name, ADA.password), 502)
    finally:
        (node.folder / "slow").unlink()
    assert (node.folder / "seen").exists()
    assert error["type"] == "ClusterUnreachable"
    assert "LOGIN_SECONDS" in error["message"]
    assert lines(node) == before
    assert log_in(service).run("whoami").json()["output"]["stdout"] == "ada\n"


def test_a_key_that_is_not_accepted_leaves_no_line_and_says_why(
    service: Embedded, node: OpenSSH
) -> None:
    before = lines(node)
    home = node.home(ADA.name)
    home.chmod(0o777)
    try:
        error = failure(service.caller().login(ADA.name, ADA.password), 502)
    finally:
        home.chmod(0o700)
    assert "writable by others" in error["message"] and "AuthorizedKeysFile" in error["message"]
    assert lines(node) == before


def test_a_key_that_needs_another_factor_leaves_no_line_and_says_so(
    service: Embedded, node: OpenSSH
) -> None:
    error = failure(service.caller().login(EVE.name, EVE.password), 502)
    assert "together with another factor" in error["message"]
    assert "CLUSTER_LOGIN=held" in error["message"]
    assert lines(node, EVE) == []
