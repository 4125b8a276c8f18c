"""deploy/requirements.txt has all that the service needs, at the pinned versions, with digests."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    found = (re.match(r"([\w.-]+)(?:\[\w+\])?==(\S+)", line) for line in lines)
    return {canonicalize_name(each[1]): each[2] for each in found if each}


def needed() -> set[str]:
    """Return what the service needs here, directly and indirectly."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    waiting = [
        Requirement(each)
        for each in (*project["dependencies"], *extras["server"], *extras["mariadb"])
    ]
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(name)
        for text in metadata.requires(name) or ():
            each = Requirement(text)
            environments = [{"extra": extra} for extra in ("", *requirement.extras)]
            if each.marker is None or any(map(each.marker.evaluate, environments)):
                waiting.append(each)
    return found


def test_every_package_is_pinned_to_the_version_of_the_constraints() -> None:
    constraints, requirements = pins("constraints.txt"), pins("deploy/requirements.txt")
    different = {
        name: version
        for name, version in requirements.items()
        if constraints.get(name) != version and name != "setuptools"
    }
    assert requirements
    assert different == {}, "run scripts/pin"


def test_every_package_that_the_service_needs_is_there() -> None:
    assert needed() - pins("deploy/requirements.txt").keys() == set(), "run scripts/pin"


def test_every_package_has_digests_and_no_place_to_load_from() -> None:
    text = (ROOT / "deploy/requirements.txt").read_text()
    entries = re.split(r"\n(?=\w)", text.partition("\n")[2])
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?://|find-links|index-url", text)


def test_image_is_built_from_them() -> None:
    assert "--require-hashes" in (ROOT / "Dockerfile").read_text()
    assert "!deploy/requirements.txt" in (ROOT / ".dockerignore").read_text().splitlines()
