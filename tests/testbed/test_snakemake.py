"""The executor of Snakemake: Snakemake's own tests of executors, on a real Slurm."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support.ports import HOST
from tests.support.service import Caller, Embedded
from tests.support.services import ROOT
from tests.support.testbed import Testbed
from tests.support.tools import python_tool

pytestmark = pytest.mark.timeout(600)

CLIENT = ROOT / "client"
PLUGIN = CLIENT / "plugins" / "snakemake-executor-plugin-resop"
REQUIREMENTS = ("snakemake==9.27.1", "pytest==9.2.0", "httpx2", "platformdirs")
PLACE = "/srv/snakemake"
WITH_TOKEN = 'read -r RESOP_TOKEN; export RESOP_TOKEN; exec "$@"'


@pytest.fixture
def place(bed: Testbed) -> Iterator[str]:
    """Yield a folder of the testbed with all that is needed, which its users can read."""
    tools = python_tool(*REQUIREMENTS, python="/usr/bin/python3")
    here = bed.machine.inside(PLACE)
    for source, name in ((tools.parent, "python"), (CLIENT, "client"), (PLUGIN, "plugin")):
        shutil.copytree(source, here / name, symlinks=True)
    bed.machine.run(["chmod", "-R", "a+rX", PLACE])
    yield PLACE
    shutil.rmtree(here)


def test_workflows(alice: Caller, running: Embedded, bed: Testbed, place: str) -> None:
    """Run them on the login node, as on a workstation that has the file system of the cluster."""
    variables = [
        *("env", "HOME=/home/alice", f"PYTHONPATH={place}/client:{place}/plugin"),
        f"RESOP_URL=http://{HOST}:{running.ports[0]}",
    ]
    flags = ("-q", "-x", "-W", "ignore", "-p", "no:cacheprovider", "-o", "log_level=WARNING")
    pytest_command = (f"{place}/python/bin/python", "-m", "pytest", *flags, f"{place}/plugin/tests")
    as_alice = ("runuser", "-u", "alice", "--", "sh", "-c", WITH_TOKEN, "sh")
    bed.machine.run(
        [*as_alice, *variables, *pytest_command],
        text=f"{alice.token}\n",
        timeout=400,
    )
    left = alice.run("ls .local/share/resop/snakemake").json()["output"]["stdout"]
    assert left.count(".log") == 1, left  # of the job that fails
