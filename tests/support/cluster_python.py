"""The Python of the testbed: functions of this program run on one of the same minor version."""

import subprocess
import sys


def reason_not_ours() -> str | None:
    """Return the reason why the testbed's Python cannot run functions of this one, or None."""
    command = ["/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    return None if found == ours else f"/usr/bin/python3 is {found or 'missing'}, this is {ours}"
