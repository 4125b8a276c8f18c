"""Asks whether what constraints.txt pins has known vulnerabilities; `make check` runs it.

One that is not answered below is an error. Where nobody could be asked, it says so, and is none: a
machine that reaches no such index looks into a copy of github.com/pypa/advisory-database instead,
with `.venv/bin/python scripts/audit.py FOLDER`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

ANSWERED: dict[str, str] = {}
"""Advisories that are no danger to resop, by their id; each with the reason."""
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
SECONDS = 120


def ask() -> list[dict[str, Any]]:
    """What pip-audit says of each package, or nothing."""
    command: list[str | Path] = [Path(sys.executable).with_name("pip-audit"), "--format=json"]
    command += ["--no-deps", "--disable-pip", "--progress-spinner=off", "-r", CONSTRAINTS]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return []
    return packages


def look_up(folder: Path) -> list[dict[str, Any]]:
    """The same of a copy of the advisories; one without any has nothing to say."""
    advisories = [
        (about, advisory)
        for file in folder.glob("vulns/*/*.yaml")
        if "withdrawn" not in (advisory := yaml.load(file.read_bytes(), yaml.CSafeLoader))
        for about in advisory["affected"]
    ]
    pins = re.findall(r"^([^#=\s]+)==(\S+)", CONSTRAINTS.read_text(), re.MULTILINE)
    return [
        {
            "name": name,
            "version": version,
            "vulns": [
                {
                    "id": advisory["id"],
                    "aliases": advisory.get("aliases", []),
                    "fix_versions": [event["fixed"] for event in events(about) if "fixed" in event],
                }
                for about, advisory in advisories
                if canonicalize_name(about["package"]["name"]) == canonicalize_name(name)
                and is_affected(version, about)
            ],
        }
        for name, version in (pins if advisories else [])
    ]


def events(about: dict[str, Any]) -> list[dict[str, str]]:
    """When it came and went, by versions (https://ossf.github.io/osv-schema)."""
    spans = [each for each in about.get("ranges", []) if each["type"] == "ECOSYSTEM"]
    return [event for span in spans for event in span["events"]]


def is_affected(version: str, about: dict[str, Any]) -> bool:
    """Whether this version is listed, or the last event up to it is that it came."""
    inside = False
    for event in sorted(events(about), key=lambda event: Version(*event.values())):
        ((what, value),) = event.items()
        if Version(value) < Version(version) or (value == version and what != "last_affected"):
            inside = what == "introduced"
    return inside or version in about.get("versions", [])


def main() -> None:
    """Ask, tell, and exit with 1 when something is to be done."""
    packages = look_up(Path(sys.argv[1])) if sys.argv[1:] else ask()
    asked = [each for each in packages if "vulns" in each]
    if not asked:
        why = next(
            (each["skip_reason"] for each in packages), "there was nobody, or no file, to ask"
        )
        print(f"Known vulnerabilities: NOT AUDITED; {why}")
        return
    if unknown := [each["name"] for each in packages if each not in asked]:
        print(f"Known vulnerabilities: not audited, since unknown there: {', '.join(unknown)}")
    faults = [
        f"{each['name']} {each['version']}: {found['id']}, mended in {found['fix_versions']}"
        for each in asked
        for found in each["vulns"]
        if not {found["id"], *found["aliases"]} & set(ANSWERED)
    ]
    print(f"Known vulnerabilities in {len(asked)} packages: {len(faults)}")
    if faults:
        sys.exit("\n".join([*faults, f"Take another version, or answer it in {__file__}"]))


if __name__ == "__main__":
    main()
