"""Test operations without a cluster: a fake shell with expected steps, and scenario files.

In a Python test:

    from operators.mysite.operations.free import free
    from resop.testing import FakeShell

    def test_free_reports_each_line() -> None:
        shell = FakeShell().expect("df -h /scratch", stdout="Filesystem Size\\n/dev/sda1 1T\\n")
        assert free(shell, folder="/scratch") == ["Filesystem Size", "/dev/sda1 1T"]
        shell.finished()

As a scenario, in `operators/mysite/tests/free.yml`, which `resop test` plays::

    - name: reports each line
      options: {folder: /scratch}
      steps: [{command: df -h /scratch, stdout: "/dev/sda1 1T\\n"}]
      output: [/dev/sda1 1T]
"""

from resop.testing.expected_call import ExpectedCall
from resop.testing.fake_shell import (
    ExpectedStep,
    FakeContext,
    FakeExecutor,
    FakeShell,
    UnexpectedStep,
)
from resop.testing.play import find_scenarios, play
from resop.testing.scenario_file import Scenario, read_scenarios

__all__ = [
    "ExpectedCall",
    "ExpectedStep",
    "FakeContext",
    "FakeExecutor",
    "FakeShell",
    "Scenario",
    "UnexpectedStep",
    "find_scenarios",
    "play",
    "read_scenarios",
]
