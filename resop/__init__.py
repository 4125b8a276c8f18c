"""resop: remote shell operations. What an operation's author imports."""

from resop.actions.login_gateway import LoginGateway
from resop.actions.operation import Operation, operation
from resop.actions.shell import Shell
from resop.actions.sweep import ParameterValues, SweepMode, combine_parameters
from resop.errors import (
    CommandFailed,
    ContactLost,
    DaemonUnavailable,
    InvalidOptions,
    NotPermitted,
    OperationFailed,
    PathFailed,
    StepTimedOut,
)
from resop.limits import FILE_LIMIT
from resop.steps.result import Result
from resop.types import Argument, ErrorMessage, FileMode, RemotePath, Secret, Username

Gate = LoginGateway  # the name that operators of 0.1 import

__version__ = "0.1.0"

__all__ = [
    "FILE_LIMIT",
    "Argument",
    "CommandFailed",
    "ContactLost",
    "DaemonUnavailable",
    "ErrorMessage",
    "FileMode",
    "Gate",
    "InvalidOptions",
    "LoginGateway",
    "NotPermitted",
    "Operation",
    "OperationFailed",
    "ParameterValues",
    "PathFailed",
    "RemotePath",
    "Result",
    "Secret",
    "Shell",
    "StepTimedOut",
    "SweepMode",
    "Username",
    "combine_parameters",
    "operation",
]
