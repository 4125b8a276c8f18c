"""The errors of this client: those of the service by their own names, and a few of its own.

ResopError
├── ConnectionFailed      the service cannot be reached, or the connection was lost
├── UnexpectedAnswer      what answered is not this service
├── VersionMismatch       the service is too old or too new for this client
├── CallFailed            a job of an executor ended without a result
├── WrongPython           the Python on the cluster cannot run calls of this program
├── RequestError          the request is wrong; repeating it changes nothing
├── AccessError           the caller is not (or no longer) known, or not permitted
├── LimitReached          a limit of the service; wait before the next request
├── ClusterError          a fault between the service and the cluster
├── ActionError           the action ran and did not succeed
├── ServiceError          a part of the service is down
├── RecordRefused         the database of the service cannot store this
└── ServiceFault          a mistake in the service itself

Each type of the service is a class of its name below one of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ResopError(Exception):
    """Something went wrong; the message is for people."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        status: int | None = None,
        task: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """`status` is that of HTTP; `details` is the service's whole description of the error."""
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        """True if the very same request may succeed later and is safe to repeat."""
        self.status = status
        self.task = task
        """The id of the task that failed, if there is one."""
        self.details: Mapping[str, Any] = details or {}

    @property
    def type(self) -> str:
        """The name of the error's type in the API."""
        return str(self.details.get("type") or type(self).__name__)

    @property
    def faults(self) -> Sequence[Mapping[str, str]]:
        """The invalid options: `field` and `message` of each."""
        return self.details.get("faults") or []

    @property
    def undone(self) -> Sequence[str]:
        """The steps that were undone."""
        return self.details.get("undone") or []

    @property
    def needs_repair(self) -> Sequence[str]:
        """The steps that could not be undone: somebody has to look at them."""
        return self.details.get("needs_repair") or []

    @property
    def retry_after(self) -> float | None:
        """How many seconds to wait before the next request, if the service says so."""
        seconds = self.details.get("retry_after")
        return None if seconds is None else float(seconds)


class ConnectionFailed(ResopError):
    """The service cannot be reached, or the connection was lost."""


class UnexpectedAnswer(ResopError):
    """Something other than this service answered."""


class VersionMismatch(ResopError):
    """The service is too old or too new for this client."""


class CallFailed(ResopError):
    """The job of a call ended without a result, or never starts."""


class WrongPython(ResopError):
    """The Python on the cluster is missing, or has another version than this program's."""


class RequestError(ResopError):
    """The request is wrong."""


class UnknownPath(RequestError):
    """There is no such path."""


class MethodNotAllowed(RequestError):
    """The path does not support this method."""


class UnknownAction(RequestError):
    """There is no such action."""


class UnknownTask(RequestError):
    """There is no such task."""


class TaskRunning(RequestError):
    """The task has not ended yet."""


class UnknownBatch(RequestError):
    """There is no such batch."""


class UnknownLogin(RequestError):
    """There is no such login."""


class UnknownApiKey(RequestError):
    """There is no such API key."""


class UnknownApproval(RequestError):
    """There is no such request for approval."""


class ApprovalDecided(RequestError):
    """This request for approval has been decided already."""


class RequesterLoggedOut(RequestError):
    """The login that requested approval has ended, and its task with it: request it again."""


class InvalidOptions(RequestError):
    """The options are not valid; `faults` has each of them."""


class IdempotencyKeyReused(RequestError):
    """The key was already used for another request."""


class MalformedRequest(RequestError):
    """The request is not valid HTTP."""


class UriTooLong(RequestError):
    """The address is too long."""


class HeadersTooLarge(RequestError):
    """The headers are too large."""


class RequestTimedOut(RequestError):
    """The request did not arrive in time."""


class HostNotAllowed(RequestError):
    """The service is not known under this name."""


class BodyTooLarge(RequestError):
    """The body is too large."""


class UnsupportedBody(RequestError):
    """The body has an unsupported type."""


class UnsupportedEncoding(RequestError):
    """The body has an unsupported encoding."""


class BodyTruncated(RequestError):
    """The body ended early."""


class PreconditionFailed(RequestError):
    """The file is not the expected one."""


class RangeNotSatisfiable(RequestError):
    """The range lies outside the file."""


class DigestMismatch(RequestError):
    """The content was damaged on the way."""


class UploadMismatch(RequestError):
    """The part does not begin where the upload ended."""


class AccessError(ResopError):
    """Access is refused."""


class NotLoggedIn(AccessError):
    """A login is needed."""


class TokenRefused(AccessError):
    """The token is not valid."""


class LoginRefused(AccessError):
    """The cluster refused this user name and password, or the issuer the login."""


class UserBlocked(AccessError):
    """An administrator has blocked this user."""


class PasswordExpired(AccessError):
    """The password has expired."""


class OtpRequired(AccessError):
    """The cluster asks for a one-time code."""


class IdentityUnknown(AccessError):
    """The cluster did not say which account the login belongs to."""


class CsrfFailed(AccessError):
    """The form does not belong to this login."""


class SessionExpired(AccessError):
    """The session has ended."""


class SessionHeldByWorker(AccessError):
    """The login's connection serves tasks only."""


class KeyRefused(AccessError):
    """The cluster no longer accepts the key of this login."""


class NotPermitted(AccessError):
    """This is not permitted."""


class Forbidden(AccessError):
    """The site's policy forbids this."""


class ApprovalRequired(AccessError):
    """The site's policy requires the approval of a second person for this."""


class ApprovalRefused(AccessError):
    """A second person has refused to approve this."""


class ApprovalExpired(AccessError):
    """Nobody has approved this in time: request it again."""


class ApprovalOutdated(AccessError):
    """The actions of this service have changed since approval was requested: request it again."""


class TooManyAttempts(AccessError):
    """Too many logins failed."""


class LimitReached(ResopError):
    """A limit is reached."""


class ClusterError(ResopError):
    """The cluster could not be used."""


class ClusterUnreachable(ClusterError):
    """The cluster cannot be reached."""


class ClusterMisconfigured(ClusterError):
    """No connection to the cluster is possible as things are set up."""


class HostKeyMismatch(ClusterError):
    """The cluster's host key is not the known one."""


class ContactLost(ClusterError):
    """The connection was lost; the step may or may not have finished."""


class ActionError(ResopError):
    """The action did not succeed."""


class CommandFailed(ActionError):
    """A command failed; `exit_code` and `stderr` say how."""

    @property
    def exit_code(self) -> int | None:
        """The exit code of the command."""
        return self.details.get("exit_code")

    @property
    def stderr(self) -> str:
        """The text that the command wrote to standard error."""
        return str(self.details.get("stderr") or "")


class PathFailed(ActionError):
    """A file or folder on the cluster is missing, denied, …; `reason` says which."""

    @property
    def reason(self) -> str:
        """The reason in one word: missing, denied, exists, is_folder, …"""
        return str(self.details.get("reason", ""))


class StepTimedOut(ActionError):
    """A step was stopped at its time limit."""


class TaskCancelled(ActionError):
    """The task was cancelled."""


class OperationFailed(ActionError):
    """The operation reported a failure."""


class JobNotFound(ActionError):
    """The scheduler knows no such job."""


class DaemonUnavailable(ActionError):
    """A daemon that the action needs is down."""


class OperationFault(ActionError):
    """A mistake in the code of an operation."""


class ServiceError(ResopError):
    """A part of the service is down."""


class ServiceBusy(ServiceError):
    """The service is too busy."""


class QueueUnavailable(ServiceError):
    """The queue of the service is down."""


class RecordsUnavailable(ServiceError):
    """The database of the service is down."""


class RecordRefused(ResopError):
    """The database of the service cannot store this."""


class ServiceFault(ResopError):
    """A mistake in the service itself."""


_BASES: Mapping[int, type[ResopError]] = {
    401: AccessError,
    403: AccessError,
    424: ActionError,
    429: LimitReached,
    502: ClusterError,
    503: ServiceError,
    504: ActionError,
}


def error_of(status: int, error: Mapping[str, Any], task: str | None = None) -> ResopError:
    """Return the service's description of an error as an exception of its type.

    A type that this client does not know becomes a base class, by the status of HTTP.
    """
    kind = _types().get(str(error.get("type")))
    if kind is None:
        kind = _BASES.get(status, RequestError if status < 500 else ServiceFault)
    message = str(error.get("message") or kind.__doc__ or kind.__name__)
    return kind(
        message,
        retryable=bool(error.get("retryable")),
        status=status,
        task=task,
        details=error,
    )


def _types() -> dict[str, type[ResopError]]:
    return {
        name: kind
        for name, kind in globals().items()
        if isinstance(kind, type) and issubclass(kind, ResopError)
    }
