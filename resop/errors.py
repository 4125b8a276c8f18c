"""Every error that resop raises on purpose; the API turns each into one status and one JSON shape.

ResopError
├── RequestError            the request is wrong; repeating it changes nothing
│   ├── UnknownAction         no such operator, command or operation
│   ├── UnknownTask           no such task, or another user's
│   ├── TaskRunning           the task has not ended yet
│   ├── UnknownBatch          no such batch, or another user's
│   ├── UnknownLogin          no such login, or another user's
│   ├── UnknownApiKey         no such API key, or another user's
│   ├── UnknownApproval       no such request for approval, or none that waits for this user
│   ├── ApprovalDecided       a request for approval that has been decided, or has ended
│   ├── RequesterLoggedOut    the login has ended with whose rights the task would run
│   ├── InvalidOptions        invalid options; every fault is listed
│   ├── IdempotencyKeyReused  an Idempotency-Key that belongs to another request
│   ├── MalformedRequest      not a request of HTTP/1.1
│   ├── UriTooLong
│   ├── HeadersTooLarge       too many bytes of headers, or too many of them
│   ├── RequestTimedOut       the request did not arrive in time
│   ├── HostNotAllowed        a Host header that ALLOWED_HOSTS does not name
│   ├── BodyTooLarge
│   ├── BodyTruncated         fewer bytes arrived than were announced
│   ├── UnsupportedBody       neither JSON nor form fields
│   ├── UnsupportedEncoding   a body that is compressed, or encoded in another way
│   ├── PreconditionFailed    a file does not match If-Match, If-Unmodified-Since, …
│   ├── RangeNotSatisfiable   a file is shorter than the range
│   ├── DigestMismatch        the content that arrived is not the content that was sent
│   └── UploadMismatch        a part does not continue the upload
├── AccessError             the caller is not (or no longer) known, or not permitted
│   ├── NotLoggedIn           no token
│   ├── TokenRefused          a token that is expired, revoked or forged
│   ├── LoginRefused          the cluster refused the password
│   ├── UserBlocked           an administrator has blocked the user
│   ├── PasswordExpired       the password is right but must be changed on the cluster first
│   ├── OtpRequired           the cluster asks for a one-time code
│   ├── IdentityUnknown       the login is accepted, but the cluster does not say whose it is
│   ├── CsrfFailed            an HTML form that does not belong to this browser's login
│   ├── SessionExpired        the session of this login, or the login itself, has ended
│   ├── SessionHeldByWorker   a worker holds this login's connection, which serves tasks only
│   ├── KeyRefused            the cluster no longer accepts the key of this login
│   ├── NotPermitted          the user is known but may not do this
│   ├── Forbidden             a named rule of the site's policy forbids this
│   ├── ApprovalRequired      a named rule requires approval, which this does not have
│   ├── ApprovalRefused       a second person has refused to approve the task
│   ├── ApprovalExpired       nobody has approved the task in time
│   ├── ApprovalOutdated      what would run now is not what was asked for, or approved
│   └── TooManyAttempts       too many failed logins; wait before the next
├── LimitReached            a published limit; wait before the next request
├── ClusterError            a fault between resop and the login node
│   ├── ClusterUnreachable    nothing was sent
│   ├── ClusterMisconfigured  no connection is possible as things are set up; nothing was sent
│   ├── HostKeyMismatch       the host key is not the known one; nothing was sent
│   └── ContactLost           the connection broke after a step was sent
├── ActionError             the action ran and did not succeed
│   ├── CommandFailed         a step ended with a non-zero exit code or by a signal
│   ├── PathFailed            a file or folder on the cluster: missing, denied, a folder, …
│   ├── StepTimedOut          a step was stopped at its time limit
│   ├── TaskCancelled         the task was stopped on request or with the service
│   ├── OperationFailed       the operation reported a failure: shell.fail("…")
│   ├── JobNotFound           the scheduler knows no such job
│   ├── DaemonUnavailable     a daemon that the action needs is down; nothing was changed
│   └── OperationFault        a mistake in an operation's code
├── ServiceError            a part of the service is down
│   ├── ServiceBusy           as many connections or open requests as the service can bear
│   ├── QueueUnavailable
│   └── RecordsUnavailable
├── RecordRefused           the database cannot store this: too large, or not its characters
├── ServiceFault            a mistake in resop itself; its log has the details
└── SetupError              found at start-up, for the person who runs resop
    ├── InvalidSettings
    └── BrokenOperator
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self


class ResopError(Exception):
    """An error in resop."""

    retryable: ClassVar[bool] = False
    """True if the very same request may succeed later and is safe to repeat."""
    nothing_sent: bool = False
    """True for a step that was ended before anything of it was sent."""

    def __init__(self, message: str | None = None, **details: Any) -> None:
        """Use the class's docstring as the message if none is given.

        `details` are further JSON-serialisable facts (the failed step, the list of faults, …)
        that are shown beside the message.
        """
        self.message = message or (type(self).__doc__ or type(self).__name__).strip()
        self.details = details
        super().__init__(self.message)

    def copy(self) -> Self:
        """Return a copy, so that each of several waiters can add details and raise it."""
        duplicate = copy.copy(self)
        duplicate.details, duplicate.__cause__ = dict(self.details), self.__cause__
        return duplicate

    def lines(self, program: str) -> str:
        """Return the message for a terminal: the program's name begins each line."""
        return "\n".join(f"{program}: {line}" for line in self.message.split("\n"))

    @property
    def public_type(self) -> str:
        """The name of the error's type, or of the base class that clients know."""
        kinds = (kind for kind in type(self).__mro__ if kind.__module__ == __name__)
        return next(kinds).__name__

    def as_json(self) -> dict[str, Any]:
        """Return `{"type", "message", "retryable", …details}`: the `error` of an answer."""
        return {
            "type": self.public_type,
            "message": self.message,
            "retryable": self.retryable,
            **self.details,
        }


class RequestError(ResopError):
    """The request is wrong."""


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
    """The options are not valid."""

    def __init__(self, faults: Sequence[dict[str, str]], message: str | None = None) -> None:
        """List every fault: `[{"field": name, "message": what is wrong}, …]`."""
        summary = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        super().__init__(message or summary, faults=list(faults))

    @classmethod
    def of(cls, field: str, message: str) -> Self:
        """Return the error for a single fault: `InvalidOptions.of("user", "must not be root")`."""
        return cls([{"field": field, "message": message}])


class IdempotencyKeyReused(RequestError):
    """This Idempotency-Key was already used for another request."""


class MalformedRequest(RequestError):
    """This is not a valid HTTP/1.1 request."""


class UriTooLong(RequestError):
    """The address of the request is too long."""


class HeadersTooLarge(RequestError):
    """The headers of the request are too large, or too many."""


class RequestTimedOut(RequestError):
    """The request did not arrive in time; nothing was done."""

    retryable = True


class HostNotAllowed(RequestError):
    """This service is not known under the name in the Host header."""


class BodyTooLarge(RequestError):
    """The request body is too large."""


class UnsupportedBody(RequestError):
    """The request body has an unsupported type: send JSON or form fields."""


class UnsupportedEncoding(RequestError):
    """Content-Encoding is not supported: send the body without it."""


class BodyTruncated(RequestError):
    """The request body ended early or stopped arriving."""


class PreconditionFailed(RequestError):
    """A condition of the request does not hold: If-Match, If-Unmodified-Since or If-None-Match."""


class RangeNotSatisfiable(RequestError):
    """The range lies outside the file."""

    def __init__(self, size: int) -> None:
        """Report the `size` of the file in bytes."""
        super().__init__(f"the range lies outside the file, which has {size} bytes", size=size)


class DigestMismatch(RequestError):
    """The content was damaged on the way: its digest does not match, and nothing was stored."""


class UploadMismatch(RequestError):
    """The part does not begin where the upload ended."""

    def __init__(self, received: int) -> None:
        """Report how many bytes are `received`: the offset of the next part."""
        super().__init__(
            f"the upload has {received} bytes: continue at byte {received}", received=received
        )


class AccessError(ResopError):
    """Access is refused."""


class NotLoggedIn(AccessError):
    """A token is needed: POST /auth/opn/login, then send 'Authorization: Bearer TOKEN'."""


class TokenRefused(AccessError):
    """The token is not valid: log in again."""


class LoginRefused(AccessError):
    """The cluster refused this user name and password."""


class UserBlocked(AccessError):
    """An administrator of this service has blocked this user."""


class PasswordExpired(AccessError):
    """The password has expired: change it on the cluster first."""


class OtpRequired(AccessError):
    """The cluster asks for a one-time code: send it as 'otp'."""


class IdentityUnknown(AccessError):
    """The cluster accepted the login, but did not say which account it belongs to."""


class CsrfFailed(AccessError):
    """This form does not belong to your current login: check its values and submit it again."""


class SessionExpired(AccessError):
    """Your session has ended: log in again."""


class SessionHeldByWorker(AccessError):
    """A worker holds this login's connection, for tasks only: use actions instead of /files."""


class KeyRefused(AccessError):
    """The cluster no longer accepts the key of this login: log in again."""


class NotPermitted(AccessError):
    """You are not permitted to do this."""


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
    """Too many logins failed: wait before the next."""

    retryable = True

    def __init__(self, retry_after: int, counted: str = "", **details: Any) -> None:
        """Report how long to wait, in seconds; `counted` says which logins failed, in words."""
        failed = f"too many failed logins {counted}".rstrip()
        super().__init__(
            f"{failed}: try again in {retry_after} s", retry_after=retry_after, **details
        )


class LimitReached(ResopError):
    """A limit is reached: try again later."""

    retryable = True


class ClusterError(ResopError):
    """The cluster could not be used."""


class ClusterUnreachable(ClusterError):
    """The cluster cannot be reached; nothing was sent to it."""

    retryable = True


class ClusterMisconfigured(ClusterError):
    """No connection to the cluster is possible as things are set up; nothing was sent to it."""


class HostKeyMismatch(ClusterError):
    """The cluster's host key is not the known one; nothing was sent to it."""


class ContactLost(ClusterError):
    """The connection was lost after the step was sent; the step may or may not have finished."""


class ActionError(ResopError):
    """The action did not succeed."""


class CommandFailed(ActionError):
    """A command failed."""


PATH_REASONS = {
    "missing": "there is no such file or folder",
    "denied": "permission denied",
    "hidden": "lies in a folder that you may not search",
    "exists": "exists already",
    "is_folder": "is a folder",
    "not_folder": "is not a folder",
    "not_file": "is not a regular file",
    "not_text": "is not text",
    "full": "the disk is full, or a quota is reached",
    "quota": "a quota may be reached",
    "too_large": "is too large",
    "failed": "cannot be used",
}
"""The reasons of a PathFailed, each with its default message."""


class PathFailed(ActionError):
    """A file or folder on the cluster cannot be used."""

    def __init__(self, path: str, reason: str, message: str | None = None, **details: Any) -> None:
        """Name the path, a `reason` of PATH_REASONS for programs, and a `message` for people."""
        text = message or PATH_REASONS[reason]
        super().__init__(f"{path}: {text}", path=path, reason=reason, **details)


class StepTimedOut(ActionError):
    """A step reached its time limit and was stopped."""


class TaskCancelled(ActionError):
    """The task was cancelled."""


class OperationFailed(ActionError):
    """The operation failed."""


class JobNotFound(ActionError):
    """The scheduler knows no such job."""


class DaemonUnavailable(ActionError):
    """A daemon on the cluster does not answer; nothing was changed."""

    retryable = True


class OperationFault(ActionError):
    """The operation's code has a mistake; the worker's log has the traceback."""


class ServiceError(ResopError):
    """A part of the service is unavailable: try again later."""

    retryable = True


class ServiceBusy(ServiceError):
    """The service has too many open connections or requests: try again later."""


class QueueUnavailable(ServiceError):
    """The queue cannot be reached, so the task was not started: try again later."""


class RecordsUnavailable(ServiceError):
    """The database cannot be reached: try again later."""

    conflict = False
    """True if a transaction lost against another one: it was undone and may be repeated."""
    suspect = False
    """True if the values may be the cause: the connection broke, or the reason is not known."""
    lacks_space = False
    """True if the disk of the database is full."""


class RecordRefused(ResopError):
    """The database cannot store this."""


class ServiceFault(ResopError):
    """An internal error of the service; its log has the details."""


class SetupError(ResopError):
    """The service cannot start."""


class InvalidSettings(SetupError):
    """The settings are not valid."""


class BrokenOperator(SetupError):
    """An operator cannot be loaded."""

    @classmethod
    def of(cls, faults: Iterable[str]) -> Self:
        """Return an error of several faults, one on each line of its message."""
        return cls("\n".join(dict.fromkeys(faults)))
