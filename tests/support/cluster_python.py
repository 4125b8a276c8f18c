"""The Python of the testbed: functions of this program run on one of the same minor version."""

import subprocess
import sys

import pytest


def skip_unless_ours() -> None:
    """Skip a test, also in CI, if the testbed's Python cannot run functions of this one.

    That depends on the Python with which the suite was begun, not on what could be installed.
    """
    command = ["/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if found != ours:
        pytest.skip(f"/usr/bin/python3 is {found or 'missing'}, this is {ours}")
