"""A creation in all systems whose worker is killed at any moment: its list is what exists.

All creations run at once, each up to its own moment: before a step, while a changing step runs,
after it has acted, and the same in the undo. Then their worker is killed. What the answers list is
compared with what the systems hold, asked directly, and a repair leaves nothing.
"""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.centre import logged_in, output, service
from tests.support.service import Caller, Embedded, failure
from tests.support.testbed import Testbed

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

OPERATORS = Path(__file__).with_name("operators")
SYSTEMS = {"directory": "ldap", "Slurm": "slurm", "portal": "portal", "login node": "folder"}
CHANGES = (r"^ldapadd .* # uid=", " add user ", "# add .* to the portal", "^mkdir ")
AT_ONCE = 16
PATIENCE = 300.0
Content = dict[str, set[str]]


def person(name: str) -> dict[str, Any]:
    return {
        "username": name,
        "full_name": "Saga Person",
        "mail": f"{name}@hpc.example",
        "password": "correct horse",
        "account": "project1",
    }


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operators")
    shutil.copytree(OPERATORS, folder, dirs_exist_ok=True)
    (folder / "saga" / "armed").touch()
    return folder


@pytest.fixture(scope="module")
def saga(bed: Testbed, operators: Path) -> Iterator[Embedded]:
    settings = {
        "OPERATORS_PATH": operators,
        "HPCCENTER_CREATE_STEPS": "saga:make_folder",
    }
    with service(bed.site, **settings) as started:
        yield started


@pytest.fixture(scope="module")
def caller(saga: Embedded, bed: Testbed) -> Iterator[Caller]:
    with logged_in(saga, bed.site.admin.name, bed.site.admin.password) as caller:
        yield caller


def contents(bed: Testbed) -> Content:
    """Return the users of this test that each system has."""
    ldap, port = bed.site.ldap, str(bed.site.postgresql.port)
    asked = {
        "ldap": ["ldapsearch", "-x", "-LLL", "-H", ldap.uri, "-b", ldap.people, "uid=*", "uid"],
        "slurm": ["sacctmgr", "-nP", "show", "associations", "format=user"],
        "portal": ["psql", "-p", port, "-d", "portal", "-Atc", "select username from users"],
        "folder": ["ls", "/home/hpcadmin/scratch"],
    }
    users = {"portal": "postgres"}
    return {
        system: {
            name.rpartition(": ")[2]
            for name in bed.machine.run(command, user=users.get(system, "root")).splitlines()
            if re.search(r"(^|: )[ku]\d\d[bsd][nd]$", name)
        }
        for system, command in asked.items()
    }


def systems_of(items: list[dict[str, str]], *states: str) -> set[str]:
    """Return the systems of undo steps in these states."""
    where = [item["where"] for item in items if item["state"] in states]
    return {SYSTEMS[next(name for name in SYSTEMS if each.startswith(name))] for each in where}


@contextlib.contextmanager
def killed(bed: Testbed, daemon: str) -> Iterator[None]:
    """Kill a daemon, and start it again at the end."""
    pid, _ = bed.machine.inside(f"/run/testbed/{daemon}").read_text().split()
    bed.machine.run(["kill", "-KILL", pid])
    try:
        yield
    finally:
        bed.daemon("start", daemon)


def begin(caller: Caller, name: str) -> str:
    prefer = "respond-async" if name.endswith("d") else "wait=1"
    answer = caller.post("hpccenter/opn/create_user", person(name), prefer=prefer)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task"])


def moments(caller: Caller) -> list[str]:
    """Return the names for all moments of a creation, found by one that succeeds."""
    answer = caller.post("hpccenter/opn/create_user", person("ref"))
    assert answer.status_code == 200, answer.text
    steps = [step["command"] for step in caller.task(answer.json()["task"])["steps"]]
    changing = [
        number
        for number, command in enumerate(steps, 1)
        if any(re.search(change, command) for change in CHANGES)
    ]
    assert len(changing) == len(CHANGES) and len(steps) > 12
    boundaries = [f"k{number:02}bn" for number in range(1, len(steps) + 1)]
    within = [
        f"k{number:02}{phase}{mode}" for number in changing for phase in "sd" for mode in "nd"
    ]
    undo = [f"u{n:02}{phase}n" for n in range(1, len(changing) + 1) for phase in "bsd"]
    return [*boundaries, *within, *undo, "u02dd", "u03sd"]


def held(bed: Testbed, operators: Path) -> set[str]:
    """Return the names of the tasks that have reached their moment."""
    inside = bed.machine.run(["sh", "-c", "ls /tmp | grep ^held- || :"]).splitlines()
    here = [each.name for each in (operators / "saga").glob("held-*")]
    return {name.removeprefix("held-") for name in [*inside, *here]}


def all_held(bed: Testbed, operators: Path, names: set[str]) -> set[str]:
    """Wait until all tasks have reached their moment; return the others."""
    deadline = time.monotonic() + PATIENCE
    while (missing := names - held(bed, operators)) and time.monotonic() < deadline:
        time.sleep(1)
    return missing


def check_list(name: str, task: dict[str, Any], has: set[str]) -> None:
    """Compare the lists of a task with the systems that have its user."""
    error = task["error"]
    items = error.get("repair", [])
    there, maybe = systems_of(items, "not_run", "failed"), systems_of(items, "uncertain", "sent")
    shown = f"{name}: {error}, systems: {has}"
    assert task["state"] == "lost", shown
    assert there <= has <= there | maybe, shown
    assert len(error["needs_repair"]) == len(items) == len(there) + len(maybe), shown
    assert all(item["what"] and item["reason"] and item["command"] for item in items), shown
    assert len(maybe) <= 1, shown


def test_list_of_a_killed_creation_is_what_is_there_and_repair_leaves_nothing(
    saga: Embedded, caller: Caller, bed: Testbed, operators: Path
) -> None:
    names = moments(caller)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tasks = dict(zip(names, pool.map(lambda name: begin(caller, name), names), strict=True))
        assert all_held(bed, operators, set(names)) == set()
        running = failure(caller.http.post(f"/tasks/{tasks[names[0]]}/repair"), 409)
        assert running["type"] == "TaskRunning"
        (operators / "saga" / "armed").unlink()
        saga.kill("worker.main")
        ended = dict(
            zip(names, pool.map(lambda name: caller.task(tasks[name], 60), names), strict=True)
        )
        before = contents(bed)
        for name, task in ended.items():
            check_list(name, task, {each for each in before if name in before[each]})
        found = [names for names in before.values() if names]
        assert len(found) == len(before), "each system has somebody"

        def repair(name: str) -> dict[str, Any]:
            answer = caller.http.post(f"/tasks/{tasks[name]}/repair", headers={"Prefer": "wait=60"})
            assert answer.status_code == 200, f"{name}: {answer.text}"
            done: dict[str, Any] = answer.json()
            return done

        check_repair_without_slurm(caller, bed, tasks["u01bn"])
        repaired = dict(zip(names, pool.map(repair, names), strict=True))
    assert contents(bed) == {system: set() for system in before}
    assert {name for name, done in repaired.items() if done["output"]["undone"]} >= set().union(
        *before.values()
    )
    for name in (names[0], "u01bn"):
        error = caller.task(tasks[name])["error"]
        assert (error["needs_repair"], "repair" in error) == ([], False)
        assert repair_again(caller, tasks[name]) == []
    output(caller, "hpccenter/opn/delete_user", username="ref")


def check_repair_without_slurm(caller: Caller, bed: Testbed, task: str) -> None:
    """Check that a repair while slurmdbd cannot be reached undoes the rest, and lists Slurm."""
    with killed(bed, "slurmdbd"):
        error = failure(
            caller.http.post(f"/tasks/{task}/repair", headers={"Prefer": "wait=60"}), 424
        )
    assert systems_of(error["repair"], "failed") == {"slurm"}, error
    assert len(error["repair"]) == len(error["needs_repair"]) == 1
    assert "Connection refused" in error["needs_repair"][0]


def repair_again(caller: Caller, task: str) -> list[str]:
    answer = caller.http.post(f"/tasks/{task}/repair")
    assert answer.status_code == 200, answer.text
    undone: list[str] = answer.json()["output"]["undone"]
    return undone
