"""The exit codes of `resop`: one for each kind of error, or that of the remote command."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from resop_client import errors


class ExitCode(IntEnum):
    """How a command ended; a remote command's own exit code is passed on as it is."""

    FAILED = 1
    INVALID = 2
    LOGIN_NEEDED = 3
    FORBIDDEN = 4
    NOT_FOUND = 5
    CONFLICT = 6
    TOO_MANY = 7
    CLUSTER = 8
    SERVICE = 9
    TIMED_OUT = 10
    LOST = 11
    CANCELLED = 12
    INTERRUPTED = 130
    """Ctrl-C while nothing was running on the cluster, as in a shell."""


_BY_TYPE: Mapping[type[Exception], ExitCode] = {
    errors.PathFailed: ExitCode.FAILED,
    errors.JobNotFound: ExitCode.NOT_FOUND,
    errors.StepTimedOut: ExitCode.TIMED_OUT,
    errors.RequestTimedOut: ExitCode.TIMED_OUT,
    errors.TaskCancelled: ExitCode.CANCELLED,
    errors.ContactLost: ExitCode.LOST,
    errors.DaemonUnavailable: ExitCode.CLUSTER,
    errors.OperationFault: ExitCode.SERVICE,
    errors.TooManyAttempts: ExitCode.TOO_MANY,
    errors.UnknownAction: ExitCode.NOT_FOUND,
    errors.PreconditionFailed: ExitCode.CONFLICT,
    TimeoutError: ExitCode.TIMED_OUT,
}
_BY_STATUS: Mapping[int, ExitCode] = {
    401: ExitCode.LOGIN_NEEDED,
    403: ExitCode.FORBIDDEN,
    404: ExitCode.NOT_FOUND,
    408: ExitCode.TIMED_OUT,
    409: ExitCode.CONFLICT,
    412: ExitCode.CONFLICT,
    429: ExitCode.TOO_MANY,
    502: ExitCode.CLUSTER,
    504: ExitCode.TIMED_OUT,
}
_BY_BASE: Mapping[type[errors.ResopError], ExitCode] = {
    errors.RequestError: ExitCode.INVALID,
    errors.AccessError: ExitCode.LOGIN_NEEDED,
    errors.LimitReached: ExitCode.TOO_MANY,
    errors.ClusterError: ExitCode.CLUSTER,
    errors.ActionError: ExitCode.FAILED,
}
"""For errors of which no status is known; all others are faults of the service."""
_BY_REASON: Mapping[str, ExitCode] = {
    "missing": ExitCode.NOT_FOUND,
    "hidden": ExitCode.NOT_FOUND,
    "denied": ExitCode.FORBIDDEN,
    "exists": ExitCode.CONFLICT,
    "is_folder": ExitCode.CONFLICT,
    "not_folder": ExitCode.CONFLICT,
    "not_file": ExitCode.CONFLICT,
}


def exit_code_of(error: errors.ResopError | TimeoutError) -> int:
    """Return the exit code of an error; of a failed command, the command's own."""
    if isinstance(error, errors.CommandFailed):
        return error.exit_code or ExitCode.FAILED
    if isinstance(error, errors.PathFailed):
        return _BY_REASON.get(error.reason, ExitCode.FAILED)
    for kind, code in _BY_TYPE.items():
        if isinstance(error, kind):
            return code
    if isinstance(error, errors.ResopError) and error.status in _BY_STATUS:
        return _BY_STATUS[error.status or 0]
    found = (code for kind, code in _BY_BASE.items() if isinstance(error, kind))
    return next(found, ExitCode.SERVICE)
