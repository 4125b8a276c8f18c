"""Slurm's accounts and associations, changed on a real slurmdbd."""

import re
from collections.abc import Iterator

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
    assert made == {"account": ACCOUNT, "parent": "research"}
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
    assert re.search(r"(?i)parent account '?nowhere'? ", orphan["message"]), orphan


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


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("create_account", {"account": "mine"}),
        ("add_user", {"user": "alice", "account": "research"}),
        ("remove_user", {"user": "bob"}),
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
