"""resop: remote shell operations. What an operation's author imports."""

from resop.errors import (
    CommandFailed,
    ContactLost,
    DaemonAway,
    InvalidOptions,
    OperationFailed,
    StepTimedOut,
)
from resop.gate import Gate
from resop.operation import Operation, operation
from resop.shell import Result, Shell
from resop.types import Argument, RemotePath, Secret, Username

__version__ = "0.1.0"

__all__ = [
    "Argument",
    "CommandFailed",
    "ContactLost",
    "DaemonAway",
    "Gate",
    "InvalidOptions",
    "Operation",
    "OperationFailed",
    "RemotePath",
    "Result",
    "Secret",
    "Shell",
    "StepTimedOut",
    "Username",
    "operation",
]
