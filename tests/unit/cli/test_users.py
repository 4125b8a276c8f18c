"""`resop users`: blocks name a user and a cluster, are listed, and can be lifted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cli.commands import run
from resop.config.settings import Settings
from resop.errors import UserBlocked
from resop.storage.credentials import CredentialStore
from resop.storage.database import Database
from resop.storage.models import Credential, now

Resop = Callable[..., str]


@pytest.fixture
def resop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Resop:
    """Run a command line at a service with the cluster `hpc`; return what it prints."""
    for name in [*Settings.model_fields, "RESOP_CONFIG"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("config.env").write_text("CLUSTER_NAME=hpc\nCLUSTER_ADDRESS=login.example\n")

    def output(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["resop", *words])
        run()
        return capsys.readouterr().out

    output("tables")
    return output


def log_in(cluster: str) -> None:
    login = Credential(id=f"at-{cluster}", username="ada", cluster=cluster, expires_at=now())
    with closing(Database(f"sqlite:///{Path('data/resop.db').absolute()}")) as database:
        CredentialStore(database).add(login)


def test_blocked_user_is_listed_with_the_reason_and_cannot_log_in(resop: Resop) -> None:
    assert resop("users", "block", "ada@hpc", "--reason", "a lost laptop") == (
        "ada@hpc is blocked; 0 logins were ended\n"
    )
    [_, line] = resop("users", "list").splitlines()
    assert line.startswith("ada@hpc ") and line.endswith("  a lost laptop")
    with pytest.raises(UserBlocked, match="a lost laptop"):
        log_in("hpc")
    log_in("other")
    assert resop("users", "unblock", "ada@hpc") == "ada@hpc can log in again\n"
    assert resop("users", "list").splitlines()[1:] == []


def test_what_an_administrator_does_is_in_the_audit_log(resop: Resop) -> None:
    resop("users", "block", "ada@hpc", "--reason", "a lost laptop")
    resop("users", "unblock", "ada@hpc")
    printed = resop("audit", "--format", "ndjson", "--action", "resop:*")
    entries = [json.loads(line) for line in printed.splitlines()]
    assert [entry["action"] for entry in entries] == ["resop:unblock", "resop:block"]
    options = entries[1]["options"]
    assert (options["user"], options["reason"]) == ("ada@hpc", "a lost laptop")
    assert options["by"]
    assert "the audit log: ok" in resop("audit", "verify")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("block", "ada", "--reason", "x"), "name the cluster, too: ada@hpc"),
        (("block", "ada@elsewhere", "--reason", "x"), "there is no cluster 'elsewhere'"),
        (("unblock", "ada@hpc"), "ada@hpc is not blocked"),
        (("unblock", "ada"), "ada is not blocked"),
    ],
)
def test_mistakes_are_named(resop: Resop, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(SystemExit) as refused:
        resop("users", *words)
    assert said in str(refused.value)
    assert resop("users", "list").splitlines()[1:] == []
