"""The linux_user operator on a real login node, whose accounts log in over a real sshd."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.centre import created, logged_in, output
from tests.support.ports import HOST
from tests.support.service import Caller, Embedded, failure
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(120)

PASSWORD = "-n 'it''s' \"quoted\" $(id) \\ :üß€"


@contextlib.contextmanager
def somebody(admin: Caller, username: str, **options: Any) -> Iterator[dict[str, Any]]:
    made = output(admin, "linux_user/opn/create_user", username=username, **options)
    try:
        yield created(made)
    finally:
        options = {"username": username, "remove_home": True, "force": True}
        admin.post("linux_user/opn/delete_user", options)


def refused_login(running: Embedded, username: str, password: str) -> bool:
    with contextlib.closing(Caller(f"http://{HOST}:{running.ports[0]}")) as nobody:
        return nobody.login(username, password).status_code == 401


def test_who_was_created_logs_in_and_who_was_deleted_does_not(
    admin: Caller, running: Embedded, bed: Testbed
) -> None:
    about = {"full_name": "Zoë O'Hara; $(id)", "groups": ["staff"], "login_shell": "/bin/sh"}
    with somebody(admin, "new-1_x", password=PASSWORD, **about) as made:
        assert made == {
            "username": "new-1_x",
            "uid": made["uid"],
            "gid": made["gid"],
            "full_name": "Zoë O'Hara; $(id)",
            "home": "/home/new-1_x",
            "login_shell": "/bin/sh",
            "groups": ["new-1_x", "staff"],
        }
        assert made["uid"] >= 1000
        with logged_in(running, "new-1_x", PASSWORD) as caller:
            assert output(caller, "utils/cmd/id").startswith(f"uid={made['uid']}(new-1_x)")
        output(admin, "linux_user/opn/change_password", username="new-1_x", password="other one")
        assert refused_login(running, "new-1_x", PASSWORD)
        with logged_in(running, "new-1_x", "other one"):
            pass
        options = {"username": "new-1_x", "remove_home": True, "force": True}
        assert output(admin, "linux_user/opn/delete_user", **options) == made
    assert refused_login(running, "new-1_x", "other one")
    assert not (bed.machine.inside("/home/new-1_x")).exists()


def test_account_that_cannot_be_completed_is_gone(admin: Caller, bed: Testbed) -> None:
    # A unique UID: a deleted account's UID may still have processes, which stop userdel.
    options = {"username": "half", "uid": 19777, "home": "/proc/half", "password": PASSWORD}
    error = failure(admin.post("linux_user/opn/create_user", options), 424)
    assert error["undone"] == ["sudo --non-interactive userdel --remove half"], error[
        "needs_repair"
    ]
    assert "cannot create directory /proc/half" in error["message"]
    assert "half" not in bed.machine.run(["getent", "passwd"])


@pytest.mark.parametrize("username", ["alice", "hpcadmin", "root"])
def test_name_that_is_taken_is_refused(admin: Caller, username: str) -> None:
    error = failure(admin.post("linux_user/opn/create_user", {"username": username}), 424)
    assert error["message"] == f"the user {username} already exists"
    assert error["undone"] == []


def test_who_is_not_there_or_not_to_be_deleted(admin: Caller) -> None:
    for action, further in [("delete_user", {}), ("change_password", {"password": "abc"})]:
        options = {"username": "alice", **further}
        error = failure(admin.post(f"linux_user/opn/{action}", options), 424)
        assert error["message"] == "there is no local account alice"
    error = failure(admin.post("linux_user/opn/delete_user", {"username": "root"}), 424)
    assert error["message"] == "root is a system account (UID 0): it is not deleted"


def test_who_may_not_use_sudo_creates_nobody(running: Embedded, bed: Testbed) -> None:
    user = bed.site.users[0]
    with logged_in(running, user.name, user.password) as alice:
        error = failure(alice.post("linux_user/opn/create_user", {"username": "eve"}), 424)
    assert "sudo" in error["message"]


@pytest.mark.parametrize("method", ["sha512", "sha256", "md5"])
def test_hash_is_a_password_that_logs_in(admin: Caller, running: Embedded, method: str) -> None:
    hashed = output(admin, "linux_user/opn/hash", password=PASSWORD, method=method)
    with somebody(admin, "hash"):
        options = {"passwords": f"hash:{hashed}", "encrypted": True}
        answer = admin.post("linux_user/cmd/chpasswd", options)
        if method == "md5" and "invalid password hash" in answer.text:
            return  # Debian takes no MD5 since forky
        assert answer.status_code == 200, answer.text
        with logged_in(running, "hash", PASSWORD):
            pass


def test_declared_commands_do_what_they_say(admin: Caller, running: Embedded, bed: Testbed) -> None:
    about = {"comment": "by hand", "create_home": True, "shell": "/bin/bash"}
    output(admin, "linux_user/cmd/useradd", input=["byhand"], **about)
    try:
        output(admin, "linux_user/cmd/chpasswd", passwords=f"byhand:{PASSWORD}\n")
        output(admin, "linux_user/cmd/groupadd", input=["team"], force=True)
        output(admin, "linux_user/cmd/usermod", input=["byhand"], groups="team", append=True)
        with logged_in(running, "byhand", PASSWORD) as caller:
            assert "(team)" in output(caller, "utils/cmd/id")
        output(admin, "linux_user/cmd/passwd", input=["byhand"], lock=True)
        shown = output(admin, "linux_user/cmd/passwd", input=["byhand"], status=True)
        assert shown.split()[:2] == ["byhand", "L"]
    finally:
        output(admin, "linux_user/cmd/userdel", input=["byhand"], remove=True, force=True)
    given = {"password": PASSWORD, "method": "-6", "salt": "abc"}
    assert output(admin, "linux_user/cmd/openssl_passwd", **given) == bed.machine.run(
        ["openssl", "passwd", "-6", "-salt", "abc", "-stdin"], text=PASSWORD
    )
