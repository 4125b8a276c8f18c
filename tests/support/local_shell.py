"""A shell whose steps run on this machine, in place of a login node."""

import subprocess
from collections.abc import Mapping

from resop.actions.shell import Shell
from resop.steps.result import Result
from resop.steps.step import StepRequest
from resop.testing import FakeContext, FakeExecutor


class LocalExecutor(FakeExecutor):
    """Runs steps with `sh` on this machine, and keeps them in `steps`."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[StepRequest] = []

    def run(self, step: StepRequest) -> Result:
        self.steps.append(step)
        done = subprocess.run(
            ["sh", "-c", step.line], input=step.input or b"", capture_output=True, check=False
        )
        stdout = done.stdout.decode("utf-8", "replace")
        return Result(stdout, done.stderr.decode(), done.returncode, command=step.display)


def local_shell(
    settings: Mapping[str, str] | None = None, operator: str = ""
) -> tuple[Shell, LocalExecutor]:
    """Return a shell, and the executor that runs its steps."""
    executor = LocalExecutor()
    context = FakeContext(settings or {}, None, executor)
    return Shell("ada", "here", executor, context, operator), executor
