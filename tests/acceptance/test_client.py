"""The client on the real service: actions, tasks, files and batches, also over cut connections."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from resop_client import AsyncResop, LoginStore, Resop, errors
from resop_client._sync import files
from tests.acceptance.conftest import ACCOUNTS, only_embedded
from tests.support.cutting_proxy import CuttingProxy
from tests.support.openssh import OpenSSH
from tests.support.ports import HOST
from tests.support.service import Service

pytestmark = only_embedded

FIONA = ACCOUNTS["fiona"]


def address(service: Service) -> str:
    return f"http://{HOST}:{service.ports[0]}"


@pytest.fixture
def store(tmp_path: Path) -> LoginStore:
    return LoginStore(tmp_path / "logins")


@pytest.fixture
def hpc(service: Service, store: LoginStore) -> Iterator[Resop]:
    with Resop(address(service), store=store) as client:
        yield client.login(FIONA.name, FIONA.password)


def test_login_run_and_errors(hpc: Resop, store: LoginStore) -> None:
    assert hpc.core.run(command="echo $USER").stdout == f"{FIONA.name}\n"
    assert hpc.utils.echo("a  b", "*") == "a  b *\n"
    entries = hpc.utils.list_folder(path="/etc").entries
    assert [each.type for each in entries if each.name == "passwd"] == ["file"]
    assert hpc.dry_run("utils.echo", "x").command.endswith("echo x")
    with Resop(store=store) as again:
        assert again.username == FIONA.name and again.core.run(command="true").exit_code == 0
    with pytest.raises(errors.CommandFailed, match="No such file") as failed:
        hpc.utils.cat("/nothing")
    assert failed.value.exit_code == 1 and failed.value.task
    with pytest.raises(errors.InvalidOptions, match="unknown option 'comand'") as invalid:
        hpc.core.run(comand="true")
    assert {fault["field"] for fault in invalid.value.faults} == {"comand", "command"}
    with pytest.raises(errors.UnknownTask, match="there is no task 'x'"):
        hpc.task("x")
    with Resop(hpc.url, store=store) as wrong, pytest.raises(errors.LoginRefused):
        wrong.login(FIONA.name, "wrong")
    assert hpc.logout().username == FIONA.name
    with pytest.raises(errors.NotLoggedIn, match="you are not logged in"):
        hpc.core.run(command="true")
    assert store.load("default") is None


def test_tasks_are_followed_labelled_found_and_cancelled(hpc: Resop) -> None:
    tag = secrets.token_hex(4)
    task = hpc.start("core.run", command="echo one; sleep 0.3; echo two", tags=[tag])
    events = list(task.events())
    text = "".join(each.data.get("text", "") for each in events if each.kind == "output")
    assert text == "one\ntwo\n" and events[-1].kind == "done"
    assert task.result().stdout == "one\ntwo\n" and task.state == "succeeded"
    assert [each.id for each in hpc.tasks(tag=tag)] == [task.id]
    assert task.label(note="mine").body["note"] == "mine"
    long = hpc.start("core.run", command="sleep 60")
    assert not long.wait(0.1)
    assert long.cancel().state == "cancelled"
    with pytest.raises(errors.TaskCancelled):
        long.result()


def test_a_batch_is_a_table(hpc: Resop) -> None:
    batch = hpc.batch(
        options={"command": "echo {{X}}; test {{X}} -lt {{LIMIT}}", "check": True},
        X=range(1, 4),
        LIMIT=[3],
    )
    states = list(batch.progress())
    assert states[-1] == (3, 3) and batch.ended and not batch.succeeded
    table = batch.results()
    assert table.column("X") == [1, 2, 3]
    assert table.column("state") == ["succeeded", "succeeded", "failed"]
    assert table[0].stdout == "1\n" and table[0].exit_code == 0
    assert table[2].error["type"] == "CommandFailed"
    again = batch.retry()
    assert again.wait(30) and again.body["size"] == 1
    assert [each.state for each in hpc.find_batch(again.id).tasks()] == ["failed"]


def test_files_are_read_written_and_checked(hpc: Resop, ssh: OpenSSH, tmp_path: Path) -> None:
    name = f"client-{secrets.token_hex(4)}"
    written = hpc.files.write(f"~/{name}/a b.txt", "äbc\n", parents=True, mode="0640")
    info = hpc.files.stat(f"~/{name}/a b.txt")
    assert (info.size, info.mode, info.etag) == (5, "0640", written.etag)
    assert hpc.files.read_text(f"~/{name}/a b.txt") == "äbc\n"
    assert hpc.files.read(f"~/{name}/a b.txt", 2, 4) == b"bc"
    with pytest.raises(errors.PreconditionFailed):
        hpc.files.write(f"~/{name}/a b.txt", "x", etag='"other"')
    with pytest.raises(errors.PathFailed) as exists:
        hpc.files.write(f"~/{name}/a b.txt", "x", overwrite=False)
    assert exists.value.reason == "exists"
    for call in (hpc.files.stat, hpc.files.read, hpc.files.remove):
        with pytest.raises(errors.PathFailed) as missing:
            call(f"~/{name}/none")
        assert missing.value.reason == "missing"
    target = hpc.files.download(f"~/{name}/a b.txt", tmp_path, checksum=True)
    assert target.read_text() == "äbc\n"
    hpc.files.remove(f"~/{name}/a b.txt")
    assert hpc.utils.rm(name, recursive=True) == ""


def test_ten_cuts_lose_and_repeat_nothing(
    service: Service,
    hpc: Resop,
    store: LoginStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 1 << 19)
    content = secrets.token_bytes(3 << 20)
    (tmp_path / "data").write_bytes(content)
    name = f"cut-{secrets.token_hex(4)}"
    token = store.load("default")
    assert token is not None
    with CuttingProxy(service.ports[0], cuts=4, after_bytes=700_000) as proxy:
        with Resop(f"http://{HOST}:{proxy.port}", token.token) as cut:
            assert cut.files.upload(tmp_path / "data", f"~/{name}").size == len(content)
            cut.files.download(f"~/{name}", tmp_path / "back", checksum=True)
        assert proxy.cuts_left == 0
    assert (tmp_path / "back").read_bytes() == content
    with CuttingProxy(service.ports[0], cuts=6, after_bytes=2500) as proxy:
        with Resop(f"http://{HOST}:{proxy.port}", token.token) as cut:
            cut.service()  # it exists: from now on the client waits for it
            line = f"for i in 1 2 3 4 5 6 7 8 9; do echo $i >>{name}; echo line $i; sleep 0.1; done"
            task = cut.start("core.script", script=f"#!/bin/sh\n{line}\n")
            events = list(task.events())
            text = "".join(each.data.get("text", "") for each in events if each.kind == "output")
            result = task.result()
        assert proxy.cuts_left < 6
    assert text == result.stdout == "".join(f"line {each}\n" for each in range(1, 10))
    assert len([each for each in events if each.kind == "done"]) == 1
    assert hpc.files.read(f"~/{name}")[len(content) :] == b"".join(
        b"%d\n" % n for n in range(1, 10)
    )
    hpc.files.remove(f"~/{name}")


async def test_the_asynchronous_client_is_the_same(service: Service, store: LoginStore) -> None:
    async with AsyncResop(address(service), store=store) as hpc:
        await hpc.login(FIONA.name, FIONA.password)
        assert (await hpc.core.run(command="echo x")).stdout == "x\n"
        task = await hpc.start("core.run", command="echo y")
        kinds = [each.kind async for each in task.events()]
        assert kinds[-1] == "done" and (await task.result()).stdout == "y\n"
        await hpc.files.write("~/async-client", b"abc")
        assert await hpc.files.read("~/async-client", 1) == b"bc"
        await hpc.files.remove("~/async-client")
        await hpc.logout()


def test_no_service_and_another_service_are_one_line(service: Service, store: LoginStore) -> None:
    one_line = pytest.raises(errors.ConnectionFailed, match=r"^cannot reach http://[^\n]+$")
    with Resop("http://127.0.0.1:1", "t", store=store) as nothing, one_line:
        nothing.service()
    other = Resop(f"{address(service)}/nothing", "t", store=store)
    with other, pytest.raises(errors.UnknownPath):
        other.service()
