"""Clients that generators make from the OpenAPI document, used on a real Slurm and directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.ports import HOST
from tests.support.service import Caller, Embedded
from tests.support.services import ROOT
from tests.support.testbed import Testbed
from tests.support.tools import node_tool, python_tool

pytestmark = pytest.mark.timeout(420)

TOURS = ROOT / "client" / "examples" / "generated"
PYTHON = ("openapi-python-client==0.29.1", "ruff==0.17.6", "mypy==2.4.1")
NODE = {
    "@types/node": "20.19.25",
    "openapi-fetch": "0.17.0",
    "openapi-typescript": "7.13.0",
    "typescript": "5.9.3",
}


@pytest.fixture(scope="module")
def document(running: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_text(running.caller().http.get("/openapi.json").text)
    return path


@pytest.fixture
def address(running: Embedded) -> str:
    return f"http://{HOST}:{running.ports[0]}"


@pytest.fixture
def logins(bed: Testbed, admin: Caller) -> Iterator[dict[str, str]]:
    """Yield the environment of a tour: who logs in, and whom it creates."""
    alice, boss = bed.site.users[0], bed.site.admin
    yield {
        "PATH": os.environ["PATH"],
        "USERNAME": alice.name,
        "PASSWORD": alice.password,
        "ADMIN": boss.name,
        "ADMIN_PASSWORD": boss.password,
        "NEW_USER": "generated",
    }
    admin.post("hpccenter/opn/delete_user", {"username": "generated"})


def run(command: Sequence[str | Path], folder: Path, environ: dict[str, str] | None = None) -> str:
    """Return what a program prints; nothing may be wrong with what it was given."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def check_tour(printed: str, bed: Testbed) -> None:
    """Check what a tour has done: it prints one line of JSON."""
    did = json.loads(printed.splitlines()[-1])
    assert did["nodes"] == len(bed.site.slurm.cpu_nodes) + len(bed.site.slurm.gpu_nodes)
    assert did["job"] > 0 and did["sweep"] > did["job"]
    assert did["runs"] == 4
    assert did["created"] == "generated"
    assert did["refused"] == "InvalidOptions"
    assert bed.machine.run(["id", "-un", "generated"]) == "generated\n"


def test_python(
    document: Path, address: str, logins: dict[str, str], bed: Testbed, tmp_path: Path
) -> None:
    tools = python_tool(*PYTHON)
    environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    flags = ("--config", TOURS / "python.yml", "--output-path", "resop_api", "--meta", "none")
    command = (tools / "openapi-python-client", "generate", "--path", document, *flags)
    said = run(command, tmp_path, environ)
    assert "warning" not in said.lower() and "error" not in said.lower(), said
    shutil.copy(TOURS / "tour.py", tmp_path)
    run([tools / "mypy", "--strict", "--follow-imports=silent", "tour.py"], tmp_path)
    check_tour(run([tools / "python", "tour.py", address], tmp_path, logins), bed)


def test_typescript(
    document: Path, address: str, logins: dict[str, str], bed: Testbed, tmp_path: Path
) -> None:
    modules = node_tool(**NODE) / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    programs = modules / ".bin"
    run([programs / "openapi-typescript", document, "--output", "resop_api.d.ts"], tmp_path)
    shutil.copy(TOURS / "tour.ts", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    flags = ("--strict", "--target", "es2022", "--module", "nodenext", "--types", "node")
    run([programs / "tsc", *flags, "tour.ts"], tmp_path)
    check_tour(run(["node", "tour.js", address], tmp_path, logins), bed)
