"""The undo log: what would undo a step is recorded before the step is sent, until it is undone."""

import asyncio
import time
from typing import Any

import pytest

from resop.actions.shell import Shell
from resop.errors import CommandFailed, StepTimedOut
from resop.security.encryption import Encryptor
from resop.security.masking import Masker
from resop.storage.database import Database
from resop.types import Secret
from tests.unit.worker.fakes import FakeSession, FakeWriter
from worker.engine import new_executor
from worker.repairs import RepairStore
from worker.step_executor import SshStepExecutor


@pytest.fixture
def writer() -> FakeWriter:
    return FakeWriter()


@pytest.fixture
async def executor(writer: FakeWriter) -> SshStepExecutor:
    return new_executor("1", FakeSession(), writer, Masker(), time.monotonic() + 60)  # type: ignore[arg-type]


def shell_of(executor: SshStepExecutor) -> Shell:
    return Shell("ada", "main", executor, None)  # type: ignore[arg-type]


def states(records: list[dict[str, Any]]) -> dict[str, str]:
    return {each["command"]: str(each["state"]) for each in records}


async def test_undo_is_recorded_before_its_step_is_sent_and_follows_it(
    executor: SshStepExecutor, writer: FakeWriter
) -> None:
    shell = shell_of(executor)

    def saga() -> None:
        with shell.undone_by("userdel", "ada"):
            assert states(writer.all_of("pending_undo")[-1]) == {"userdel ada": "uncertain"}
            shell.run("useradd", "ada")
        with pytest.raises(CommandFailed), shell.undone_by("undo"):
            shell.run("false")
        shell.on_failure("false", "undo")
        shell.undo()

    await asyncio.to_thread(saga)
    made, failing = "userdel ada", "false undo"
    assert [states(each) for each in writer.all_of("pending_undo")] == [
        {made: "uncertain"},
        {made: "not_run"},
        {made: "not_run", "undo": "uncertain"},
        {made: "not_run"},
        {made: "not_run", failing: "not_run"},
        {made: "not_run", failing: "sent"},
        {made: "not_run", failing: "failed"},
        {made: "sent", failing: "failed"},
        {made: "done", failing: "failed"},
    ]
    assert states(executor.undo_log.unsettled or []) == {failing: "failed"}


async def test_undo_step_is_recorded_when_the_time_is_over_too(writer: FakeWriter) -> None:
    late = new_executor("1", FakeSession(), writer, Masker(), time.monotonic() - 1)  # type: ignore[arg-type]
    shell = shell_of(late)

    def too_late() -> None:
        shell.on_failure("userdel", "ada")
        with pytest.raises(StepTimedOut), shell.undone_by("groupdel", "team"):
            shell.run("groupadd", "team")

    await asyncio.to_thread(too_late)
    # Nothing of the second step was sent.
    assert states(writer.all_of("pending_undo")[-1]) == {"userdel ada": "not_run"}


async def test_secret_of_an_undo_step_is_masked_or_encrypted_in_every_record(
    writer: FakeWriter, database: Database
) -> None:
    store = RepairStore(database, Encryptor(b"k" * 32))
    executor = new_executor(
        "1",
        FakeSession(),  # type: ignore[arg-type]
        writer,  # type: ignore[arg-type]
        Masker(),
        time.monotonic() + 60,
        repairs=store,
    )
    shell = shell_of(executor)
    shell.on_failure("passwd", input=Secret("old-secret"), what="put old-secret back")
    shell.on_failure("echo", "old-secret")
    assert "old-secret" not in str(writer.written)
    assert writer.all_of("pending_undo")[-1][0]["what"] == "put ******** back"
