"""Looks up known vulnerabilities of the packages in constraints.txt; `make check` runs it.

A vulnerability that is not answered below is an error. If the package index cannot be reached, the
audit is skipped with a message, which is not an error. A machine without an index can use a copy of
github.com/pypa/advisory-database: `.venv/bin/python scripts/audit.py FOLDER`.
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
"""Ids of advisories that do not endanger resop, each with the reason."""
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
TIMEOUT = 120  # seconds


def ask_index() -> list[dict[str, Any]]:
    """Return what pip-audit reports on each package; nothing if it cannot ask."""
    command: list[str | Path] = [Path(sys.executable).with_name("pip-audit"), "--format=json"]
    command += ["--no-deps", "--disable-pip", "--progress-spinner=off", "-r", CONSTRAINTS]
    try:
        result = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        packages: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return []
    return packages


def look_up(folder: Path) -> list[dict[str, Any]]:
    """Report the same from a copy of the advisories; nothing if the folder has none."""
    advisories = [
        (affected, advisory)
        for file in folder.glob("vulns/*/*.yaml")
        if "withdrawn" not in (advisory := yaml.load(file.read_bytes(), yaml.CSafeLoader))
        for affected in advisory["affected"]
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
                    "fix_versions": [
                        event["fixed"] for event in events(affected) if "fixed" in event
                    ],
                }
                for affected, advisory in advisories
                if canonicalize_name(affected["package"]["name"]) == canonicalize_name(name)
                and is_affected(version, affected)
            ],
        }
        for name, version in (pins if advisories else [])
    ]


def events(affected: dict[str, Any]) -> list[dict[str, str]]:
    """Return the versions that introduced and fixed it (https://ossf.github.io/osv-schema)."""
    ranges = [each for each in affected.get("ranges", []) if each["type"] == "ECOSYSTEM"]
    return [event for each in ranges for event in each["events"]]


def is_affected(version: str, affected: dict[str, Any]) -> bool:
    """Return True if the version is listed, or lies in an affected range."""
    inside = False
    for event in sorted(events(affected), key=lambda event: Version(*event.values())):
        ((kind, value),) = event.items()
        if Version(value) < Version(version) or (value == version and kind != "last_affected"):
            inside = kind == "introduced"
    return inside or version in affected.get("versions", [])


def main() -> None:
    """Print the result; exit with 1 if there is an unanswered vulnerability."""
    packages = look_up(Path(sys.argv[1])) if sys.argv[1:] else ask_index()
    audited = [each for each in packages if "vulns" in each]
    if not audited:
        reason = next(
            (each["skip_reason"] for each in packages),
            "no index answered, or no advisory was found",
        )
        print(f"Known vulnerabilities: NOT AUDITED; {reason}")
        return
    if unknown := [each["name"] for each in packages if each not in audited]:
        print(f"Known vulnerabilities: not audited, unknown to the index: {', '.join(unknown)}")
    faults = [
        f"{each['name']} {each['version']}: {found['id']}, fixed in {found['fix_versions']}"
        for each in audited
        for found in each["vulns"]
        if not {found["id"], *found["aliases"]} & set(ANSWERED)
    ]
    print(f"Known vulnerabilities in {len(audited)} packages: {len(faults)}")
    if faults:
        sys.exit(
            "\n".join([*faults, f"Choose another version, or answer the advisory in {__file__}"])
        )


if __name__ == "__main__":
    main()
