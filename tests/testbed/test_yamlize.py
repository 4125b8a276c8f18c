"""`resop yamlize` on the tools of a real login node, whose entries then run there."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.support.ports import HOST
from tests.support.service import ENVIRON, RESOP, Caller, Embedded, write_config
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(120)

COMMANDS = (
    "sacct",
    "squeue",
    "sinfo",
    "sbatch",
    "scontrol",
    "ldapsearch",
    "/usr/sbin/useradd",
    "cp",
)
# A person has this in ~/.ssh/config.
SSH_CONFIG = """\
Host *
  User alice
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
"""


@pytest.fixture(scope="module")
def settings(bed: Testbed) -> dict[str, object]:
    return {
        "CLUSTER_NAME": "mini",
        "CLUSTER_ADDRESS": bed.site.ssh.host,
        "CLUSTER_SSH_PORT": bed.site.ssh.port,
        "KNOWN_HOSTS": bed.site.ssh.known_hosts,
    }


@pytest.fixture(scope="module")
def entries(
    bed: Testbed, settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Run `resop yamlize --on mini` and return its output, by command."""
    folder = tmp_path_factory.mktemp("yamlize")
    write_config(folder, settings)
    where = {"key": bed.site.users[0].key, "known_hosts": bed.site.ssh.known_hosts}
    (folder / "ssh_config").write_text(SSH_CONFIG.format(**where))
    ssh = folder / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {folder}/ssh_config "$@"\n')
    ssh.chmod(0o755)
    environ = ENVIRON | {"PATH": f"{ssh.parent}:{os.environ['PATH']}"}
    return {Path(command).name: printed(folder, environ, command) for command in COMMANDS}


def printed(folder: Path, environ: dict[str, str], command: str) -> str:
    argv = [*RESOP, "yamlize", "--on", "mini", command]
    result = subprocess.run(
        argv, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def alice(bed: Testbed, settings: dict[str, object], entries: dict[str, str]) -> Iterator[Caller]:
    with TemporaryDirectory(prefix="resop-", dir="/tmp") as name:
        folder = Path(name)
        made = folder / "operators" / "made"
        made.mkdir(parents=True)
        (made / "commands.yml").write_text("\n".join(entries.values()))
        user = bed.site.users[0]
        with Embedded(folder, {**settings, "OPERATORS_PATH": folder / "operators"}) as service:
            address = f"http://{HOST}:{service.ports[0]}"
            with contextlib.closing(Caller(address)) as nobody:
                token = nobody.login(user.name, user.password).json()["output"]["token"]
            with contextlib.closing(Caller(address, token)) as caller:
                yield caller


@pytest.mark.parametrize(
    ("command", "name", "entry"),
    [
        ("sacct", "accounts", {"flag": "--accounts"}),
        ("sacct", "local", {"flag": "--local", "type": "flag"}),
        ("squeue", "states", {"flag": "--states=", "type": "string"}),
        ("squeue", "noheader", {"flag": "--noheader", "type": "flag"}),
        ("sinfo", "nodes", {"flag": "--nodes=", "type": "string"}),
        ("sinfo", "Node", {"flag": "--Node", "type": "flag"}),
        ("sbatch", "cpus_per_task", {"flag": "--cpus-per-task=", "type": "string"}),
        ("sbatch", "nice", {"flag": "--nice="}),
        ("scontrol", "oneliner", {"flag": "--oneliner"}),
        ("ldapsearch", "b", {"flag": "-b", "type": "string"}),
        ("ldapsearch", "LLL", {"flag": "-LLL", "type": "flag"}),
        ("ldapsearch", "w", {"flag": "-w", "type": "string", "enabled": False}),
        ("useradd", "home_dir", {"flag": "--home-dir", "type": "string"}),
        ("useradd", "create_home", {"flag": "--create-home", "type": "flag"}),
        ("cp", "target_directory", {"flag": "--target-directory=", "type": "string"}),
        ("cp", "archive", {"flag": "--archive", "type": "flag"}),
    ],
)
def test_flag_is_as_the_program_takes_it(
    entries: dict[str, str], command: str, name: str, entry: dict[str, Any]
) -> None:
    (made,) = yaml.safe_load(entries[command])
    shown = made["options"][name]
    assert shown.pop("description")
    if name == "oneliner":  # the help of newer releases says more
        assert shown.pop("type", "flag") == "flag"
    assert shown == entry


@pytest.mark.parametrize(
    ("command", "options", "shown"),
    [
        ("sacct", {"accounts": "project1", "noheader": True, "allusers": True}, ""),
        ("squeue", {"user": "alice", "format": "%i %j"}, "JOBID NAME"),
        ("sinfo", {"Node": True, "partition": "batch"}, "cn01"),
        ("scontrol", {"oneliner": True, "input": "show partition batch"}, "PartitionName=batch"),
        ("sbatch", {"wrap": "hostname", "cpus_per_task": "1", "parsable": True}, "\n"),
        ("ldapsearch", {"x": True, "LLL": True, "input": ["(uid=alice)", "uid"]}, "uid: alice"),
        ("cp", {"verbose": True, "backup": True, "input": ["/etc/hostname", "a b"]}, "a b"),
    ],
)
def test_entry_runs_as_it_was_made(
    alice: Caller, command: str, options: dict[str, Any], shown: str
) -> None:
    answer = alice.post(f"made/cmd/{command}", options)
    assert answer.status_code == 200, answer.text
    assert shown in answer.json()["output"]
