"""Many people from a CSV on real OpenLDAP, Slurm and PostgreSQL: one request, one table.

RESOP_TEST_PEOPLE says how many.
"""

import contextlib
import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.secrecy import places_of
from tests.support.centre import logged_in, output
from tests.support.service import Caller, Embedded, failure
from tests.support.testbed import Testbed
from tests.testbed.test_hpccenter import rows, where

PEOPLE = int(os.environ.get("RESOP_TEST_PEOPLE", "60"))
TIMEOUT = 60 + 6 * PEOPLE

pytestmark = pytest.mark.timeout(TIMEOUT)

CREATE = "hpccenter/opn/create_user"
COLUMNS = (
    *("username", "full_name", "mail", "account", "further_accounts", "qos", "ensure", "update"),
)
THERE, PARTLY, OTHER = "p0001", "p0002", "p0003"
"""People who exist: in all systems, in one, and with another name."""
BAD_MAIL, BAD_ACCOUNT = "p0004", "p0005"


def person(number: int, **values: str) -> dict[str, str]:
    name = f"p{number:04}"
    about = {
        "username": name,
        "full_name": f"Zoë {number} O'Brien",
        "mail": f"{name}@hpc.example",
        "account": "project1",
        "ensure": "true",
    }
    return {**about, **values}


def people() -> list[dict[str, str]]:
    special = {
        3: {"full_name": "=Another; name"},
        4: {"mail": "nowhere"},
        5: {"account": "nosuch"},
        6: {"further_accounts": "research", "qos": "normal"},
    }
    return [person(number, **special.get(number, {})) for number in range(1, PEOPLE + 1)]


def as_csv(items: list[dict[str, str]]) -> bytes:
    """Return the table as a spreadsheet in Europe writes it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", delimiter=";", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(items)
    return text.getvalue().encode("utf-8-sig")


@pytest.fixture
def existing(admin: Caller, bed: Testbed) -> Iterator[None]:
    first, second, third = ({**person(number), "password": "correct horse"} for number in (1, 2, 3))
    for about in (first, third):
        output(admin, CREATE, **about)
    directory = ("username", "full_name", "mail", "password")
    output(admin, "ldap/opn/create_user", **{name: second[name] for name in directory})
    yield
    names = [each["username"] for each in people()]
    ldap = bed.site.ldap
    bind = ["-x", "-H", ldap.uri, "-D", ldap.bind_dn, "-w", ldap.password]
    dns = [f"uid={name},{ldap.people}" for name in names]
    with contextlib.suppress(RuntimeError):  # some are missing
        bed.machine.run(["ldapdelete", "-c", *bind, *dns])
    bed.machine.run(["sacctmgr", "-i", "delete", "user", f"name={','.join(names)}"])
    rows(bed, "delete from users where username ~ '^p[0-9]{4}$'")


def table(admin: Caller, batch: str) -> list[dict[str, str]]:
    columns = {"column": ["outcome", "password", "outcomes.directory", "outcomes.slurm"]}
    answer = admin.http.post(f"/batches/{batch}/results.csv", params=columns)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def known(bed: Testbed) -> dict[str, list[str]]:
    """Return the people of the table whom each system knows, as often as it does."""
    ldap = bed.site.ldap
    bind = ["-x", "-LLL", "-H", ldap.uri, "-D", ldap.bind_dn, "-w", ldap.password]
    search = ["ldapsearch", *bind, "-E", "pr=500/noprompt", "-b", ldap.people, "(uid=p*)"]
    entries = bed.machine.run([*search, "uid", "uidNumber"])
    numbers = re.findall("^uidNumber: (.*)$", entries, re.MULTILINE)
    assert len({*numbers}) == len(numbers), "each has a number of its own"
    members = ["sacctmgr", "-nP", "show", "associations", "account=project1", "format=user"]
    table = rows(bed, "select username from users")
    return {
        "directory": sorted(re.findall("^uid: (p[0-9]{4})$", entries, re.MULTILINE)),
        "slurm": sorted(re.findall("^p[0-9]{4}$", bed.machine.run(members), re.MULTILINE)),
        "portal": sorted(re.findall("^p[0-9]{4}$", table, re.MULTILINE)),
    }


def launch(admin: Caller, items: list[dict[str, str]], **query: str) -> Any:
    return admin.http.post(
        f"/{CREATE}/batch",
        content=as_csv(items),
        headers={"Content-Type": "text/csv"},
        params=query,
    )


def until_ended(admin: Caller, batch: str) -> Any:
    shown: Any = {"state": ""}
    while shown["state"] != "ended":
        shown = admin.http.get(f"/batches/{batch}", params={"wait": 50}).json()
    return shown


@pytest.mark.usefixtures("existing")
def test_people_of_a_table_are_created_once_with_an_exact_result_for_each(
    admin: Caller,
    running: Embedded,
    bed: Testbed,
    record_property: Callable[[str, object], None],
) -> None:
    refused = failure(launch(admin, people()), 422)
    assert [each["field"] for each in refused["faults"]] == ["line 5, mail"]
    assert where(bed, "p0006") == set(), "nothing was begun"

    answer = launch(admin, people(), keep_going="true")
    assert answer.status_code == 202, answer.text
    shown = until_ended(admin, answer.json()["batch"])
    record_property("begin and end", f"{shown['created_at']} {shown['ended_at']}")
    assert shown["counts"] | {"succeeded": 0, "failed": 0} == dict.fromkeys(shown["counts"], 0)
    found = {row["username"]: row for row in table(admin, shown["batch"])}
    assert list(found) == [each["username"] for each in people()]
    failed = {name: row["error"] for name, row in found.items() if row["state"] != "succeeded"}
    assert set(failed) == {OTHER, BAD_MAIL, BAD_ACCOUNT}, failed
    assert "line 5, mail: must be an address" in failed[BAD_MAIL]
    assert "Slurm has no account nosuch" in failed[BAD_ACCOUNT]
    assert "whose full_name is Zoë 3 O'Brien" in failed[OTHER]
    assert found[OTHER]["full_name"] == "'=Another; name", "no formula"
    kinds = {THERE: "unchanged", PARTLY: "changed"}
    outcomes = {name: row["outcome"] for name, row in found.items() if name not in failed}
    assert outcomes == {name: kinds.get(name, "created") for name in outcomes}
    passwords = {name: row["password"] for name, row in found.items() if row["password"]}
    assert set(passwords) == {name for name, kind in outcomes.items() if kind == "created"}
    assert len({*passwords.values()}) == len(passwords)

    for system, names in known(bed).items():
        assert names == sorted([*outcomes, OTHER]), system
    for name in ("p0006", f"p{PEOPLE:04}"):
        with logged_in(running, name, passwords[name]) as caller:
            assert output(caller, "utils/cmd/id", user=True, name=True).strip() == name
        bed.machine.run(["rm", "-rf", f"/home/{name}"])
    assert places_of(passwords.values(), running) == []
    assert {row["password"] for row in table(admin, shown["batch"])} == {"", "********"}

    overview = output(admin, "hpccenter/opn/show_user", username="p0006")
    assert overview["missing"] == []
    accounts = {each["account"]: each["is_default"] for each in overview["accounts"]}
    assert accounts == {"project1": True, "research": False}


@pytest.mark.usefixtures("existing")
def test_people_who_differ_are_changed_where_that_is_asked_for(admin: Caller, bed: Testbed) -> None:
    items = [person(1, update="true"), person(3, full_name="Other Name", update="true")]
    shown = until_ended(admin, launch(admin, items).json()["batch"])
    assert shown["success"], table(admin, shown["batch"])
    assert [row["outcome"] for row in table(admin, shown["batch"])] == ["unchanged", "changed"]
    overview = output(admin, "hpccenter/opn/show_user", username=OTHER)
    names = {overview["directory"]["full_name"], overview["portal"]["full_name"]}
    assert names == {"Other Name"}

    twins = [person(7), person(7, full_name="Twin")]
    shown = until_ended(admin, launch(admin, twins).json()["batch"])
    first, second = sorted(table(admin, shown["batch"]), key=lambda row: row["state"], reverse=True)
    assert (first["outcome"], second["state"]) == ("created", "failed")
    assert re.search("already|Already exists", second["error"]), second

    limits = {"fairshare": 7, "max_wall": 3600, "max_resources": "cpu=8,mem=2G", "qos": ["normal"]}
    about = {"mail": "new@hpc.example", "expires": "2030-01-01", **limits}
    changed = output(admin, "hpccenter/opn/modify_user", username=OTHER, **about)
    [account] = changed["accounts"]
    assert {name: account[name] for name in limits} == limits
    assert changed["directory"]["expires"] == "2030-01-01"
    assert {changed["directory"]["mail"], changed["portal"]["mail"]} == {"new@hpc.example"}
    wrong = {"username": OTHER, "mail": "last@hpc.example", "qos": ["nosuch"]}
    error = failure(admin.post("hpccenter/opn/modify_user", wrong), 424)
    assert error["undone"] and not error["needs_repair"]
    after = output(admin, "hpccenter/opn/show_user", username=OTHER)
    assert after == changed, "nothing was changed"
    cleared = {"username": OTHER, "clear": ["max_wall", "max_resources"], "expires": "never"}
    [account] = output(admin, "hpccenter/opn/modify_user", **cleared)["accounts"]
    assert (account["max_wall"], account["max_resources"], account["fairshare"]) == (None, None, 7)
