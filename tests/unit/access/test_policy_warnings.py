"""A policy that denies the shell and leaves another way to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resop.access.permissions import governed_actions
from resop.access.policy_warnings import shell_warning, warnings
from resop.actions.catalog import Catalog, load_catalog
from resop.config.policy import load_policy
from resop.security.identity import Identity

ADA = Identity("ada", "main")
PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog([])


def warned(folder: Path, catalog: Catalog, policy: str, *groups: str) -> str:
    file = folder / "policy.yml"
    file.write_text(policy)
    loaded = load_policy(file, ["main"])
    loaded.check_names(governed_actions(catalog))
    return shell_warning(loaded, catalog, ADA, groups) or ""


def first_example() -> str:
    found = re.search(r"^    default: deny.*?(?=^\S)", PAGE, re.DOTALL | re.MULTILINE)
    assert found
    return re.sub("^    ", "", found[0], flags=re.MULTILINE)


def test_the_first_example_of_the_page_gives_nobody_a_shell_by_mistake(
    tmp_path: Path, catalog: Catalog
) -> None:
    assert warned(tmp_path, catalog, first_example()) == ""
    assert warned(tmp_path, catalog, first_example(), "physics").endswith("later: slurm:submit")


def test_an_allowed_glob_that_brings_the_shell_back_is_named(
    tmp_path: Path, catalog: Catalog
) -> None:
    policy = "default: deny\nrules:\n  - deny: [core:run]\n  - allow: [slurm:*, 'utils:*']\n"
    warning = warned(tmp_path, catalog, policy)
    for action in ("salloc", "sbatch", "sbatchd", "srun", "submit", "sweep", "sbcast"):
        assert f"slurm:{action}" in warning
    assert "utils:cp" in warning and "core:" not in warning.partition("denied")[2]
    assert "psql" in warned(tmp_path, catalog, "default: allow\nrules:\n  - deny: core:*\n")


def test_a_policy_without_such_a_gap_is_not_warned_about(tmp_path: Path, catalog: Catalog) -> None:
    for policy in (
        "default: allow\n",
        "default: deny\n",
        "default: deny\nrules:\n  - allow: [core:*, slurm:*]\n",
        "default: deny\nrules:\n  - deny: core:run\n  - allow: utils:ls\n",
    ):
        assert warned(tmp_path, catalog, policy) == ""


def test_users_whom_no_rule_names_stand_for_everybody(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(
        "default: allow\nrules:\n  - deny: core:run\n    clusters: main\n"
        "  - deny: '*'\n    users: [any@dev]\n"
    )
    found = list(warnings(load_policy(file, ["main", "dev"]), catalog, ["main", "dev"]))
    assert len(found) == 1 and found[0].startswith("POLICY_FILE: on main, core:run is")


def test_the_page_lists_the_actions_that_run_code(catalog: Catalog) -> None:
    listed = PAGE.partition("**Actions that run code.**")[2].partition("A site's own")[0]
    named = set(re.findall(r"`(\w+:\w+)`", listed)) - {"files:write"}
    assert named == {action.title for action in catalog if action.runs_code}
