"""The author's API of resop: everything that an operation imports.

An operation is a typed function in `operators/<operator>/operations/<name>.py`, published as
POST /<operator>/opn/<name>. It runs steps on the cluster, as the logged-in user, through a Shell.

    from resop import RemotePath, Shell, operation

    @operation
    def count_lines(shell: Shell, path: RemotePath) -> int:
        return int(shell.run("wc", "-l", path, path=path).stdout.split()[0])

- `operation`, `Operation`: publish a function, and call it from another operation
- `Shell`, with `Result`, `File`, `TransferStats`: run steps, transfer files, undo, report progress
- `Username`, `RemotePath`, `FileMode`, `Argument`, `CommandLine`, `Secret`: types of options, and
  `ErrorMessage` for others; `Alias` gives an option another name
- `Outcome`: what an operation answers that ensures something
- `ParameterValues`, `SweepMode`, `combine_parameters`: options of a parameter sweep
- `csv_lines`: rows as CSV, for an answer that is a table
- `CommandFailed`, `PathFailed`, …: errors to raise or catch; `resop.errors` has all of them
- `LoginGateway`: the first parameter of an operation that logs in, with its answers
  `LoginAnswer` and `LogoutAnswer`

`resop.testing` runs an operation without a cluster.
"""

from resop.actions.login_gateway import LoginAnswer, LoginGateway, LogoutAnswer
from resop.actions.operation import Operation, operation
from resop.actions.shell import Shell
from resop.actions.sweep import ParameterValues, SweepMode, combine_parameters
from resop.archives.entry import File, TransferStats
from resop.errors import (
    CommandFailed,
    ContactLost,
    DaemonUnavailable,
    InvalidOptions,
    JobNotFound,
    NotPermitted,
    OperationFailed,
    PathFailed,
    StepTimedOut,
    UnknownAction,
)
from resop.limits import FILE_LIMIT
from resop.steps.csv_text import csv_lines
from resop.steps.result import Result
from resop.types import (
    Alias,
    Argument,
    CommandLine,
    ErrorMessage,
    FileMode,
    Outcome,
    RemotePath,
    Secret,
    Username,
)

Gate = LoginGateway  # the former name

__version__ = "0.1.0"

__all__ = [
    "FILE_LIMIT",
    "Alias",
    "Argument",
    "CommandFailed",
    "CommandLine",
    "ContactLost",
    "DaemonUnavailable",
    "ErrorMessage",
    "File",
    "FileMode",
    "Gate",
    "InvalidOptions",
    "JobNotFound",
    "LoginAnswer",
    "LoginGateway",
    "LogoutAnswer",
    "NotPermitted",
    "Operation",
    "OperationFailed",
    "Outcome",
    "ParameterValues",
    "PathFailed",
    "RemotePath",
    "Result",
    "Secret",
    "Shell",
    "StepTimedOut",
    "SweepMode",
    "TransferStats",
    "UnknownAction",
    "Username",
    "combine_parameters",
    "csv_lines",
    "operation",
]
