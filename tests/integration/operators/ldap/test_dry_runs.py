"""Dry runs in front of a real OpenLDAP: all that an operation would do, and nothing is changed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from operators.db.operations import create_user as portal
from operators.ldap.operations import add_to_group, create_group, create_user, suspend_user
from operators.slurm.operations import create_account
from resop import Shell, operation
from resop.actions.dry_run import NOTE_AFTER_CHANGES, perform_dry_run
from resop.actions.execute import ActionOutcome, perform_operation
from resop.actions.operation import Operation
from resop.actions.options import check_options
from resop.security.masking import Masker
from resop.types import MASK
from tests.support import slapd
from tests.support.directory import CATALOG, PERSON, perform
from tests.support.local_shell import local_shell
from tests.support.needs import need
from tests.support.ports import HOST, free_port
from tests.support.slapd import BASE, SERVICE, SERVICE_PASSWORD, Slapd, group_entry, user_entry

need(slapd.reason_unavailable())

PASSWORD = str(PERSON["password"])
POLICY = "overlay ppolicy\n"


@pytest.fixture(scope="module", params=[False, True], ids=["rfc2307", "rfc2307bis"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Slapd]:
    folder = tmp_path_factory.mktemp("slapd") / "d"
    folder.mkdir()
    classes, values = (["groupOfNames"], {"member": SERVICE}) if request.param else ([], {})
    entries = group_entry("hpcusers", slapd.GROUP, *classes, **values) + user_entry("old", 20007)
    with slapd.slapd(
        folder,
        auxiliary_groups=request.param,
        database=POLICY if request.param else "",
        entries=entries,
    ) as started:
        yield started


def dump(server: Slapd) -> str:
    """Return everything in the directory, with the times of changes."""
    bind = ["-x", "-H", server.uri, "-D", SERVICE, "-w", SERVICE_PASSWORD, "-b", BASE]
    command = ["ldapsearch", "-LLL", *bind, "(objectClass=*)", "*", "+"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def dry(
    settings: Mapping[str, str], action: Operation[..., Any], options: Mapping[str, Any]
) -> ActionOutcome:
    """Dry-run an operation on this machine."""
    shell, _ = local_shell(settings, "ldap")
    checked = check_options(action.options, options)
    return perform_dry_run(action, shell, checked, Masker([PASSWORD]))


def changes(outcome: ActionOutcome) -> list[str]:
    """Return the changes of a plan in words."""
    assert outcome.error is None, outcome.error_json()
    return [str(step["summary"]) for step in outcome.output["plan"] if step["changes"]]


def person(username: str, **others: Any) -> dict[str, Any]:
    return {**PERSON, "username": username, **others}


def test_plan_is_what_the_run_does(server: Slapd) -> None:
    before = dump(server)
    planned = dry(server.settings, create_user.create_user, person("ada"))
    words = changes(planned)
    assert words[:2] == [
        "reserve uidNumber 20008, which is the next free one now",
        f"add uid=ada,{slapd.PEOPLE}",
    ]
    assert words[2:] in (
        [],
        [f"set the password of uid=ada,{slapd.PEOPLE}, which the server checks"],
    )
    assert PASSWORD not in str(planned.output) and MASK in str(planned.output)
    assert SERVICE_PASSWORD not in str(planned.output)
    assert dump(server) == before
    made = perform(server.settings, "create_user", **person("ada"))
    assert made.output == planned.output["output"]
    for action, options, expected in (
        ("suspend_user", {"username": "ada"}, "replace shadowExpire 1, add description"),
        ("create_group", {"name": "grp", "members": ["ada"]}, "reserve gidNumber 30000"),
        ("add_to_group", {"group": "hpcusers", "usernames": ["ada"]}, "add member"),
        ("rename_user", {"username": "ada", "new_name": "ada2"}, f"uid=ada,{slapd.PEOPLE} becomes"),
        ("delete_user", {"username": "ada2"}, "delete member"),
    ):
        before = dump(server)
        found = _operation(action)
        planned = dry(server.settings, found, options)
        assert expected in changes(planned)[0], (action, changes(planned))
        assert dump(server) == before, action
        done = perform(server.settings, action, **options)
        assert _comparable(done.output) == _comparable(planned.output["output"]), action
    perform(server.settings, "delete_group", name="grp")


def _operation(name: str) -> Operation[..., Any]:
    found = CATALOG.action("ldap", "opn", name)
    assert isinstance(found, Operation)
    return found


def _comparable(output: Any) -> Any:
    """Return an output without the expiry date that stands for a suspension."""
    return {name: value for name, value in output.items() if name != "expires"}


def test_later_steps_find_what_earlier_ones_would_have_made(server: Slapd) -> None:
    @operation(dry_run=True)
    def new_project(shell: Shell, unknown: bool = False) -> list[str]:
        create_user.create_user(shell, **person("newton"))
        create_group.create_group(shell, name="gravity", members=["newton"])
        members = ["newton", "nobody"] if unknown else ["newton", "old"]
        group = add_to_group.add_to_group(shell, group="gravity", usernames=members)
        suspend_user.suspend_user(shell, username="newton")
        return group["members"]

    before = dump(server)
    outcome = dry(server.settings, new_project, {})
    words = changes(outcome)
    assert outcome.output["output"] == ["newton", "old"]
    assert any("old" in each and "gravity" in each for each in words)
    assert any(each.startswith("replace shadowExpire 1") for each in words)
    refused = dry(server.settings, new_project, {"unknown": True}).error_json()
    assert refused is not None
    assert refused["message"] == "the directory has no user nobody"
    assert (refused["note"], refused["undone"]) == (NOTE_AFTER_CHANGES, [])
    assert dump(server) == before


REFUSALS: dict[str, tuple[Operation[..., Any], dict[str, Any], dict[str, str], str]] = {
    "the name is taken": (
        create_user.create_user,
        person("old"),
        {},
        "the directory already has a user old",
    ),
    "a setting is missing": (
        create_user.create_user,
        person("ada"),
        {"LDAP_GID": ""},
        "the setting LDAP_GID is missing",
    ),
    "the bind is refused": (
        create_user.create_user,
        person("ada"),
        {"LDAP_BIND_PASSWORD": "wrong"},
        "refuses LDAP_BIND_DN or LDAP_BIND_PASSWORD",
    ),
    "no administrator": (
        create_user.create_user,
        person("ada"),
        {"ADMINISTRATORS": "bob"},
        "only administrators of this service may run this action",
    ),
    "the directory cannot be reached": (
        create_group.create_group,
        {"name": "grp"},
        {"LDAP_URI": f"ldap://{HOST}:1"},
        f"the LDAP server ldap://{HOST}:1 cannot be reached",
    ),
    "the portal cannot be reached": (
        portal.create_user,
        {"username": "ada", "mail": "a@b", "full_name": "Ada"},
        {"PORTAL_PASSWORD": "x", "PORTAL_PORT": str(free_port())},
        "PostgreSQL at 127.0.0.1:",
    ),
    "there is no Slurm": (
        create_account.create_account,
        {"account": "project9"},
        {"SLURM_BIN": "/no/such"},
        "sacctmgr",
    ),
}


def test_refusals_are_those_of_a_run(server: Slapd) -> None:
    before = dump(server)
    for name, (action, options, settings, message) in REFUSALS.items():
        changed = {**server.settings, **settings}
        changed = {key: value for key, value in changed.items() if value}
        shell, _ = local_shell(changed, action.operator)
        real = perform_operation(action, shell, check_options(action.options, options)).error_json()
        said = dry(changed, action, options).error_json()
        assert real is not None and said is not None, name
        assert message in said["message"], name
        assert {**said, "note": None} == {**real, "note": None}, name
        assert "note" not in said, name
    assert dump(server) == before
