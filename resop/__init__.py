"""resop: remote shell operations. What an operation's author imports."""

from resop.errors import CommandFailed, ContactLost, DaemonAway, StepTimedOut
from resop.gate import Gate
from resop.operation import Operation, operation
from resop.shell import C_LOCALE, Result, Shell
from resop.types import Argument, FileMode, RemotePath, Secret, Username

__version__ = "0.1.0"

__all__ = [
    "C_LOCALE",
    "Argument",
    "CommandFailed",
    "ContactLost",
    "DaemonAway",
    "FileMode",
    "Gate",
    "Operation",
    "RemotePath",
    "Result",
    "Secret",
    "Shell",
    "StepTimedOut",
    "Username",
    "operation",
]
