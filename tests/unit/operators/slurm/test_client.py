"""How operations ask Slurm's clients, and what they make of an outage."""

import pytest

from operators.slurm.client import ask, launcher, on_cluster, unavailable_daemon
from resop.errors import CommandFailed, DaemonUnavailable, OperationFailed, StepTimedOut
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.testing import FakeExecutor, FakeShell

DATABASE = "sacctmgr --noheader --parsable2 show cluster format=cluster"
NO_CONTROLLER = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
NO_MUNGE = """\
squeue: error: If munged is up, restart with --num-threads=10
squeue: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2"
slurm_load_jobs error: Protocol authentication error"""
NO_SLURMDBD = """\
sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to \
host:127.0.0.1:6819: Connection refused
sacct: error: Sending PersistInit msg: Connection refused
sacct: error: Problem talking to the database: Connection refused"""
NO_MARIADB = """\
sacctmgr: error: slurm_persist_conn_open: Something happened with the receiving/processing of the \
persistent connection init message to 127.0.0.1:6819: Unable to connect to database
sacctmgr: error: Sending PersistInit msg: Unable to connect to database"""
BROKEN_OFF = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


@pytest.mark.parametrize(
    ("program", "said", "daemon"),
    [
        ("squeue", NO_CONTROLLER, "slurmctld"),
        ("squeue", NO_MUNGE, "munged"),
        ("sacct", NO_SLURMDBD, "slurmdbd"),
        ("sacctmgr", NO_MARIADB, "MariaDB"),
        ("sinfo", BROKEN_OFF, "slurmctld"),
        ("sreport", BROKEN_OFF, "slurmdbd"),
        ("scontrol", "slurm_load_jobs error: Invalid job id specified", None),
    ],
)
def test_daemon_is_told_by_what_the_client_says(
    program: str, said: str, daemon: str | None
) -> None:
    assert unavailable_daemon(program, said) == daemon


def test_outage_is_retryable_and_names_the_daemon() -> None:
    shell = FakeShell().expect("squeue --me", stderr=NO_CONTROLLER, exit_code=1)
    with pytest.raises(
        DaemonUnavailable, match="slurmctld cannot be reached: squeue: slurm_load_jobs"
    ) as outage:
        ask(shell, "squeue", "--me")
    assert outage.value.retryable
    assert outage.value.details["daemon"] == "slurmctld"
    assert outage.value.details["step"]["command"] == "squeue --me"


def test_other_failure_stays_a_failed_command_or_is_answered() -> None:
    said = "slurm_load_jobs error: Invalid job id specified"
    shell = FakeShell().expect("scontrol show job 9", stderr=said, exit_code=1)
    with pytest.raises(CommandFailed, match="Invalid job id"):
        ask(shell, "scontrol", "show", "job", 9)
    shell.expect("scontrol show job 9", stderr=said, exit_code=1)
    assert ask(shell, "scontrol", "show", "job", 9, check=False).exit_code == 1


def test_change_whose_connection_broke_off_may_have_happened() -> None:
    shell = FakeShell().expect("sbatch", input="#!/bin/sh", stderr=BROKEN_OFF, exit_code=1)
    with pytest.raises(CommandFailed, match="Socket timed out"):
        ask(shell, "sbatch", input="#!/bin/sh", changes=True)


def test_change_is_not_tried_again() -> None:
    shell = FakeShell().expect("scancel 9", raises=StepTimedOut())
    with pytest.raises(StepTimedOut):
        ask(shell, "scancel", 9, changes=True, timeout=5)
    shell.finished()


def test_slow_controller_is_given_time() -> None:
    shell = FakeShell().expect("squeue", raises=StepTimedOut()).expect("munge --no-input")
    shell.expect("scontrol ping", stdout="Slurmctld(primary) at n1 is DOWN\n… at n2 is UP\n")
    assert ask(shell.expect("squeue", stdout="jobs"), "squeue").stdout == "jobs"
    shell.finished()


def test_stuck_controller_is_named() -> None:
    shell = FakeShell().expect("squeue", raises=StepTimedOut()).expect("munge --no-input")
    shell.expect("scontrol ping", raises=StepTimedOut())
    with pytest.raises(DaemonUnavailable, match="slurmctld"):
        ask(shell, "squeue")


def test_controller_that_is_down_is_named() -> None:
    shell = FakeShell().expect("squeue", raises=StepTimedOut()).expect("munge --no-input")
    shell.expect("scontrol ping", stdout="Slurmctld(primary) at n1 is DOWN\n", exit_code=1)
    with pytest.raises(DaemonUnavailable, match="slurmctld"):
        ask(shell, "squeue")


def test_stuck_munged_is_named() -> None:
    shell = FakeShell().expect("sinfo", raises=StepTimedOut())
    shell.expect("munge --no-input", raises=StepTimedOut())
    with pytest.raises(DaemonUnavailable, match="munged"):
        ask(shell, "sinfo")


def test_stuck_slurmdbd_is_named() -> None:
    shell = FakeShell().expect("sacct", raises=StepTimedOut()).expect("munge --no-input")
    shell.expect(DATABASE, raises=StepTimedOut())
    with pytest.raises(DaemonUnavailable, match="slurmdbd"):
        ask(shell, "sacct")


def test_question_that_takes_too_long_is_no_outage() -> None:
    shell = FakeShell().expect("sacct", raises=StepTimedOut()).expect("munge --no-input")
    shell.expect(DATABASE, stdout="mini\n")
    with pytest.raises(StepTimedOut):
        ask(shell, "sacct")


def test_site_without_munge_is_not_told_that_it_is_away() -> None:
    shell = FakeShell().expect("sacct", raises=StepTimedOut())
    shell.expect("munge --no-input", stderr="munge: not found", exit_code=127)
    with pytest.raises(StepTimedOut):
        ask(shell.expect(DATABASE, stdout="mini\n"), "sacct")


def test_answer_that_was_cut_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(executor: FakeExecutor, step: StepRequest) -> Result:
        assert step.max_output == 9
        return Result("123456789", truncated=True)

    monkeypatch.setattr(FakeExecutor, "run", cut)
    with pytest.raises(
        OperationFailed, match="squeue printed more than 9 bytes: narrow the request"
    ):
        ask(FakeShell(), "squeue", max_output=9)


def test_cluster_is_an_option_of_the_clients_that_have_one() -> None:
    shell = FakeShell().expect("squeue --clusters=big --me")
    shell.expect("env A=squeue sbatch --clusters=big --parsable").expect("sacctmgr show account")
    with on_cluster("big"):
        ask(shell, "squeue", "--me")
        ask(shell, "env", "A=squeue", "sbatch", "--parsable", changes=True)
        ask(shell, "sacctmgr", "show", "account")
    shell.expect("squeue")
    ask(shell, "squeue")
    shell.finished()


def test_client_that_is_not_on_the_path_says_which_setting_helps() -> None:
    shell = FakeShell().expect("squeue", stderr="sh: 9: exec: squeue: not found", exit_code=127)
    with pytest.raises(CommandFailed, match=r"squeue is not on the PATH .* SLURM_BIN"):
        ask(shell, "squeue", check=False)


def test_folder_of_the_clients_is_a_setting() -> None:
    assert "/opt/slurm/bin" in launcher(FakeShell(settings={"SLURM_BIN": "/opt/slurm/bin"}))
    assert launcher(FakeShell())[4] == ""
