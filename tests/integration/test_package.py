"""The wheel as it is installed elsewhere: with the service, or for an operator's author only."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

from resop import __version__
from tests.support.decoys import PACKAGES, make_decoys
from tests.support.ports import HOST, free_port
from tests.support.service import Caller, write_config
from tests.support.services import ROOT, Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CORE = {"resop", "pydantic", "pydantic_core", "PyYAML", "annotated-types"} | {
    "typing-inspection",
    "typing_extensions",
}
"""Packages that `pip install resop` installs."""
HEAVY = ("asyncssh", "cryptography", "sqlalchemy", "celery", "fastapi", "redis", "dotenv")
OPERATOR = '''"""An operator of a site."""

from resop import Shell, operation


@operation
def count(shell: Shell, folder: str) -> int:
    """Count the lines that ls prints."""
    return len(shell.run("ls", folder).stdout.splitlines())
'''
WRONG_TYPE = OPERATOR.replace("-> int", "-> str")
TRY_OPERATOR = """
import resop.testing, sys
sys.path.insert(0, "mine")
from mine import count
shell = resop.testing.FakeShell().expect("ls /tmp", stdout="a\\nb\\n")
assert count(shell, "/tmp") == 2
shell.finished()
from resop.actions.catalog import load_catalog
assert "slurm" in load_catalog().operators
"""


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program with no environment of the tests, so that only what is installed counts."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def pip(*arguments: str | Path, cwd: Path = ROOT) -> None:
    """Run this environment's pip with the tests' environment: it knows where packages are."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Make a folder with a short path, for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="resop-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    """Build the wheel, from a copy: setuptools would leave its files in the source tree."""
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("resop", *PACKAGES):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", source, "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    [built] = folder.glob("resop-*.whl")
    return built


def environment(folder: Path, name: str, requirement: str) -> Path:
    """Make a virtual environment with this one requirement; return its folder of programs."""
    venv.create(folder / name, with_pip=False, symlinks=True)
    python = folder / name / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    pip("--python", python, "install", "--constraint", constraints, requirement)
    return python.parent


@pytest.fixture(scope="module")
def core(folder: Path, wheel: Path) -> Path:
    """Run `pip install resop`; return the folder of programs."""
    return environment(folder, "core", str(wheel))


@pytest.fixture(scope="module")
def server(folder: Path, wheel: Path) -> Path:
    """Run `pip install 'resop[server]'`; return the folder of programs."""
    return environment(folder, "server", f"{wheel}[server]")


def test_wheel_has_types_settings_and_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = Parser().parsestr(
            archive.read(f"resop-{__version__}.dist-info/METADATA").decode()
        )
    assert {f"{name}/py.typed" for name in ("resop", *PACKAGES)} <= names
    assert "resop/config/reference.env" in names
    assert any(name.startswith("api/pages/") and name.endswith(".html") for name in names)
    assert not {name.split("/")[0] for name in names} - {
        *("resop", *PACKAGES),
        f"resop-{__version__}.dist-info",
    }
    assert metadata["Version"] == __version__
    assert str(metadata.get_payload()).startswith("# resop")
    required = {each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each}
    assert {re.split(r"\W", each)[0] for each in required} == {"pydantic", "pyyaml"}
    assert {"server", "mariadb", "oidc"} <= set(metadata.get_all("Provides-Extra", []))


def test_author_needs_pydantic_and_pyyaml_only(core: Path, folder: Path) -> None:
    # Without pip in it, the environment is listed by the names of its metadata.
    installed = {
        each.name.partition("-")[0] for each in core.parent.glob("lib/*/site-packages/*.dist-info")
    }
    expected = {name.replace("-", "_").lower() for name in CORE}
    assert {name.replace("-", "_").lower() for name in installed} == expected
    author = folder / "author"
    (author / "mine").mkdir(parents=True)
    (author / "mine" / "mine.py").write_text(OPERATOR)
    run(core / "python", "-c", TRY_OPERATOR, cwd=author)


def test_missing_extra_is_named(core: Path, folder: Path) -> None:
    assert run(core / "resop", "--version", cwd=folder).stdout == f"resop {__version__}\n"
    printed = run(core / "resop", "config", "PORT", cwd=folder).stdout
    assert printed.endswith("#PORT=3000\n")
    for command in ("up", "api", "worker", "keys"):
        refused = run(core / "resop", command, cwd=folder, check=False)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert refused.stderr.endswith("is not installed: pip install 'resop[server]'\n")


@pytest.mark.parametrize(("source", "found"), [(OPERATOR, ""), (WRONG_TYPE, 'expected "str"')])
def test_mypy_sees_the_types(core: Path, folder: Path, source: str, found: str) -> None:
    project = Path(tempfile.mkdtemp(dir=folder))
    (project / "count.py").write_text(source)
    mypy = Path(sys.executable).with_name("mypy")
    strict = ("--strict", "--python-executable", core / "python", "count.py")
    done = run(mypy, *strict, cwd=project, check=False)
    assert (done.returncode == 0) is (not found), done.stdout
    assert found in done.stdout


def test_import_loads_no_library_of_the_service(server: Path, folder: Path) -> None:
    done = run(
        server / "python", "-X", "importtime", "-c", "import resop, resop.testing", cwd=folder
    )
    loaded = {
        line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()
    }
    assert "pydantic" in loaded
    assert not loaded & set(HEAVY)


def test_service_starts_between_decoys(server: Path, folder: Path) -> None:
    home, port = folder / "site", free_port()
    write_config(home, {"PORT": port, "DEMO_PASSWORD": "made up"})
    make_decoys(home)
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
    process = Process([str(server / "resop"), "up", "--demo"], home / "up.log", environ, cwd=home)
    try:
        process.until(lambda: "resop is ready" in process.output(), "resop up --demo")
        with contextlib.closing(Caller(f"http://{HOST}:{port}")) as anybody:
            answer = anybody.login("demo", "made up")
            assert answer.status_code == 200, answer.text
        token = answer.json()["output"]["token"]
        with contextlib.closing(Caller(f"http://{HOST}:{port}", token)) as caller:
            assert "uid=" in caller.post("utils/cmd/id").json()["output"]
    finally:
        assert process.stop(signal.SIGINT) == 0, process.output()
