"""The command line: help for every subcommand, and what is said where something is missing."""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cli.commands import COMMANDS, run
from cli.config import REFERENCE, reference
from cli.parser import make_parser
from resop.config.settings import Settings
from resop.errors import InvalidSettings, SetupError
from resop.storage import workers
from resop.storage.database import Database
from resop.storage.models import now
from resop.storage.workers import WorkerStore

ROOT = Path(__file__).parents[3]
SETTINGS = [name for name in Settings.model_fields if name != "own"]

Resop = Callable[..., str]


@pytest.fixture
def resop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Resop:
    """Run a command line in an empty folder; return what it prints."""
    for name in [*SETTINGS, "RESOP_CONFIG"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def output(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["resop", *words])
        run()
        return capsys.readouterr().out

    return output


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of every subcommand, nested ones included."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield each
                yield from parsers(each)


SUBCOMMANDS = list(parsers(make_parser()))


def test_every_subcommand_has_a_function() -> None:
    names = {each.prog.split()[1] for each in SUBCOMMANDS}
    assert names == set(COMMANDS)


@pytest.mark.parametrize("parser", SUBCOMMANDS, ids=lambda parser: parser.prog)
def test_help_has_a_description_and_an_example(parser: argparse.ArgumentParser) -> None:
    text = parser.format_help()
    assert parser.description and parser.description[0].isupper()
    assert re.search(rf"^examples?:\n  .*\b{parser.prog}\b", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 100
    for action in parser._actions:
        if action.option_strings or action.dest not in ("user", "program", "subcommand"):
            assert action.help or action.dest == "policy_command", action


@pytest.mark.parametrize("parser", SUBCOMMANDS, ids=lambda parser: parser.prog)
def test_examples_are_valid(parser: argparse.ArgumentParser) -> None:
    assert parser.epilog
    for line in parser.epilog.splitlines()[1:]:
        words = re.sub(r"^ *(?:[A-Z]+=\S+ )?resop |>.*$|'", "", line).split()
        make_parser().parse_args(words)


@pytest.mark.parametrize("command", ["keys", "audit"])
def test_no_database_is_explained(resop: Resop, command: str) -> None:
    with pytest.raises(SystemExit) as refused:
        resop(command)
    hint = "No database in data/: start the service here first, or set DATA_DIR"
    assert refused.value.code == f"resop: {hint}"
    assert not Path("data").exists()


def test_no_database_at_an_address_is_explained(
    resop: Resop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///elsewhere.db")
    with pytest.raises(SystemExit, match=r"No database at elsewhere\.db: .* or set DATABASE_URL"):
        resop("keys")


def test_tables_are_created_in_a_new_folder(resop: Resop) -> None:
    resop("tables")
    assert Path("data/resop.db").exists()
    assert resop("keys").split() == ["ID", "USER", "CLUSTER", "KIND", "FROM", "UNTIL"]


def test_revoke_without_a_login_is_explained(resop: Resop) -> None:
    with pytest.raises(SystemExit, match="--revoke needs the IDs of logins, or --user"):
        resop("keys", "--revoke")


@pytest.mark.parametrize(
    ("worker", "alive"), [("HERE-0a1b2c3d", True), ("HERE-2-0a1b2c3d", False), ("x-HERE-1", False)]
)
def test_health_of_a_worker_is_its_sign_of_life(
    resop: Resop, tmp_path: Path, worker: str, alive: bool
) -> None:
    name = worker.replace("HERE", socket.gethostname())
    (tmp_path / "data").mkdir()
    with contextlib.closing(Database(f"sqlite:///{tmp_path}/data/resop.db")) as database:
        database.create_tables()
        WorkerStore(database).heartbeat(name)
    if alive:
        assert resop("health", "worker") == f"alive: {name}\n"
    else:
        with pytest.raises(SystemExit, match="has given a sign of life for 30 s"):
            resop("health", "worker")


def test_worker_without_a_recent_sign_of_life_is_not_alive(
    resop: Resop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    with contextlib.closing(Database(f"sqlite:///{tmp_path}/data/resop.db")) as database:
        database.create_tables()
        early = now() - timedelta(seconds=36)
        with monkeypatch.context() as at_that_time:
            at_that_time.setattr(workers, "now", lambda: early)
            WorkerStore(database).heartbeat(f"{socket.gethostname()}-0a1b2c3d")
    with pytest.raises(SystemExit, match="no worker of"):
        resop("health", "worker")


@pytest.mark.parametrize("command", ["up", "api", "worker", "keys", "check"])
def test_missing_server_packages_name_the_extra(
    resop: Resop, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(arguments: argparse.Namespace) -> None:
        raise ModuleNotFoundError("No module named 'redis.client'", name="redis.client")

    monkeypatch.setitem(COMMANDS, command, fail)
    with pytest.raises(SystemExit) as refused:
        resop(command)
    assert refused.value.code == (
        f"resop: 'resop {command}' needs redis, which is not installed: pip install 'resop[server]'"
    )


def test_missing_module_of_ours_is_a_fault(resop: Resop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: argparse.Namespace) -> None:
        raise ModuleNotFoundError("No module named 'worker.x'", name="worker.x")

    monkeypatch.setitem(COMMANDS, "worker", fail)
    with pytest.raises(ModuleNotFoundError):
        resop("worker")


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(InvalidSettings, match=r"needs pymysql, .* 'resop\[mariadb\]'"):
        Database("mysql+pymysql://user:password@host/resop")


def test_config_prints_the_reference(resop: Resop) -> None:
    assert resop("config") == REFERENCE.read_text(encoding="utf-8")
    assert resop("config", "PORT") == "# Port to listen on.\n#PORT=3000\n"
    assert resop("config", "sync_wait").endswith("\n#SYNC_WAIT=30\n")


def test_config_prints_every_setting() -> None:
    for name in SETTINGS:
        comment, line = reference(name).splitlines()
        assert comment.startswith("# ") and line.startswith(f"#{name}="), name


def test_config_names_the_nearest_setting() -> None:
    with pytest.raises(SetupError, match="there is no setting PROT; did you mean PORT"):
        reference("PROT")


def test_config_env_and_the_reference_are_the_same() -> None:
    """Values that were set in this checkout's config.env do not count."""
    settings = re.compile(r"^#?([A-Z][A-Z_]*=).*$", re.MULTILINE)
    shown, packaged = (
        settings.sub(r"#\1", text)
        for text in ((ROOT / "config.env").read_text(), REFERENCE.read_text(encoding="utf-8"))
    )
    assert shown == packaged, "run: cp config.env resop/config/reference.env"
    assert not re.search(r"^[A-Z]", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
