"""The three stories that resop is made for, with curl only, as a newcomer would run them."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.ports import HOST
from tests.support.service import Embedded

SCRIPT = Path(__file__).parents[2] / "testbed" / "stories.sh"


@pytest.mark.timeout(300)
def test_stories_of_administrator_portal_and_researcher(running: Embedded) -> None:
    environ = os.environ | {"RESOP": f"http://{HOST}:{running.ports[0]}"}
    told = subprocess.run([SCRIPT], env=environ, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "All three stories succeeded." in told.stdout
