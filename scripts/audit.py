"""Asks whether what constraints.txt pins has known vulnerabilities; `make check` runs it.

One that is not answered below is an error. Where nobody could be asked, it says so, and is none.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def main() -> None:
    """Ask, tell, and exit with 1 when something is to be done."""
    packages = ask()
    asked = [each for each in packages if "vulns" in each]
    if not asked:
        print("Known vulnerabilities: NOT AUDITED; the index was not reached, or knows of none")
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
