"""Slurm's accounts and associations, changed on a real slurmdbd."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.support.centre import logged_in, output
from tests.support.service import Caller, Embedded, failure
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(120)

ACCOUNT = "pro.j-9"


@pytest.fixture
def account(admin: Caller, bed: Testbed) -> Iterator[str]:
    about = {"parent": "research", "description": "storms, ü = 1; $(id)", "organization": "-x y"}
    made = output(admin, "slurm/opn/create_account", account=ACCOUNT, **about, fairshare=3)
    assert made == {"account": ACCOUNT, "parent": "research", "outcome": "created"}
    yield ACCOUNT
    bed.machine.run(["sacctmgr", "-i", "delete", "account", ACCOUNT])


def shown(bed: Testbed, *words: str) -> str:
    """Ask slurmdbd directly."""
    return bed.machine.run(["sacctmgr", "-nP", "show", *words]).strip()


def test_account_is_as_it_was_asked_for(account: str, admin: Caller, bed: Testbed) -> None:
    wanted = f"{ACCOUNT}|storms, ü = 1; $(id)|-x y"
    assert wanted in shown(bed, "account", "format=account,description,organization")
    again = failure(admin.post("slurm/opn/create_account", {"account": ACCOUNT}), 424)
    assert again["message"] == f"Slurm already has an account {ACCOUNT}"
    options = {"account": "other", "parent": "nowhere"}
    orphan = failure(admin.post("slurm/opn/create_account", options), 424)
    assert orphan["message"] == "Slurm has no account nowhere", orphan


def test_user_is_added_charges_jobs_and_is_removed(
    account: str, admin: Caller, running: Embedded, bed: Testbed
) -> None:
    user = bed.site.users[0]
    limits = {"max_jobs": 2, "max_submit_jobs": 7, "fairshare": 4}
    output(admin, "slurm/opn/add_user", user=user.name, account=account, **limits)
    fields = "format=account,maxjobs,maxsubmitjobs,fairshare"
    found = shown(bed, "associations", f"user={user.name}", f"account={account}", fields)
    assert found == f"{account}|2|7|4"
    with logged_in(running, user.name, user.password) as caller:
        script = {"script": "#!/bin/sh\nsleep 300\n", "account": account}
        output(caller, "slurm/opn/sbatchd", **script)
    which = {"user": user.name, "account": account}
    busy = failure(admin.post("slurm/opn/remove_user", which), 424)
    assert "has jobs in Slurm" in busy["message"]
    removed = output(admin, "slurm/opn/remove_user", **which, cancel_jobs=True)
    assert removed == {"user": user.name, "accounts": [account]}
    assert account not in shown(bed, "associations", f"user={user.name}", "format=account")
    gone = failure(admin.post("slurm/opn/remove_user", which), 424)
    assert gone["message"] == f"{user.name} is not in the Slurm account {account}"


def test_user_whom_nobody_else_knows_has_a_default_account(
    account: str, admin: Caller, bed: Testbed
) -> None:
    for where in ("project1", account):
        output(admin, "slurm/opn/add_user", user="n.ew-2", account=where, default=True)
    try:
        default = shown(bed, "user", "n.ew-2", "format=user,defaultaccount")
        assert default == f"n.ew-2|{account}"
    finally:
        removed = output(admin, "slurm/opn/remove_user", user="n.ew-2")
    assert sorted(removed["accounts"]) == sorted(["project1", account])
    assert shown(bed, "user", "n.ew-2") == ""


def test_changes_at_once_are_all_made(account: str, admin: Caller, bed: Testbed) -> None:
    """Slurm itself loses some of them where they do not wait for each other."""
    names = {f"twin{number}" for number in range(16)}

    def members() -> set[str]:
        return {*shown(bed, "associations", f"account={account}", "format=user").split()}

    def change(action: str, name: str) -> None:
        output(admin, f"slurm/opn/{action}", user=name, account=account)

    with ThreadPoolExecutor(len(names)) as pool:
        for action, left in (("add_user", names), ("remove_user", set())):
            list(pool.map(partial(change, action), names))
            assert members() == left, action


def test_settings_of_a_user_are_ensured_changed_and_cleared(
    account: str, admin: Caller, bed: Testbed
) -> None:
    user = bed.site.users[0].name
    which: dict[str, Any] = {"user": user, "account": account, "ensure": True}
    wanted = {"fairshare": 4, "qos": ["normal", "high"], "max_resources": "cpu=8,mem=2048"}
    for options, outcome in (
        ({}, "created"),
        ({}, "unchanged"),
        ({**wanted, "update": True}, "changed"),
        (wanted, "unchanged"),
        ({"max_resources": "mem=2G"}, "unchanged"),
    ):
        assert output(admin, "slurm/opn/add_user", **which, **options)["outcome"] == outcome
    error = failure(admin.post("slurm/opn/add_user", {**which, "fairshare": 5}), 424)
    assert "fairshare is 4: change that with modify_user, or set update" in error["message"]
    options = {"user": user, "account": account, "default_account": account, "max_wall": 90}
    changed = output(admin, "slurm/opn/modify_user", **options, clear=["max_resources"])
    assert changed["changed"] == {account: ["max_wall", "max_resources"]}
    assert shown(bed, "user", user, "format=defaultaccount") == account
    where = ("associations", f"user={user}", f"account={account}")
    assert shown(bed, *where, "format=fairshare,maxwall,maxtres") == "4|00:02:00|"
    output(admin, "slurm/opn/modify_user", user=user, default_account="project1")
    error = failure(admin.post("slurm/opn/modify_user", {"user": user, "qos": ["nosuch"]}), 424)
    assert "nosuch" in error["message"] and not error["needs_repair"]
    output(admin, "slurm/opn/remove_user", user=user, account=account)


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("create_account", {"account": "mine"}),
        ("add_user", {"user": "alice", "account": "research"}),
        ("remove_user", {"user": "bob"}),
        ("modify_user", {"user": "bob", "fairshare": 100}),
    ],
)
def test_only_administrators_of_slurm_may(
    running: Embedded, bed: Testbed, action: str, options: dict[str, str]
) -> None:
    alice = bed.site.users[0]
    before = shown(bed, "associations", "format=account,user")
    with logged_in(running, alice.name, alice.password) as caller:
        error = failure(caller.post(f"slurm/opn/{action}", options), 403)
    assert error["type"] == "NotPermitted"
    assert shown(bed, "associations", "format=account,user") == before


def test_accounting_that_is_away_is_named(admin: Caller, bed: Testbed) -> None:
    bed.daemon("stop", "slurmdbd")
    try:
        error = failure(admin.post("slurm/opn/create_account", {"account": "late"}), 424)
    finally:
        bed.daemon("start", "slurmdbd")
    assert (error["type"], error["daemon"]) == ("DaemonUnavailable", "slurmdbd")
    assert shown(bed, "account", "late") == ""
