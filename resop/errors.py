"""Every error resop raises on purpose; the API turns each into one status and one JSON shape.

ResopError
├── RequestError            the caller's request is wrong; asking again changes nothing
│   ├── UnknownAction         no such operator, command or operation
│   ├── UnknownTask           no such task, or somebody else's
│   ├── UnknownBatch          no such batch, or somebody else's
│   ├── InvalidOptions        options that do not fit; every fault is listed
│   ├── IdempotencyKeyReused             an Idempotency-Key that stands for another request
│   ├── BodyTooLarge
│   ├── BodyTruncated               less came than was announced
│   ├── UnsupportedBody       neither JSON nor form fields
│   ├── PreconditionFailed    a file is not as If-Match or If-None-Match want it
│   ├── RangeNotSatisfiable   a file is not that long
│   ├── DigestMismatch        what arrived is not what was sent
│   └── UploadMismatch        a part does not continue an upload
├── AccessError             who is asking is not (or no longer) known
│   ├── NotLoggedIn           no token
│   ├── TokenRefused          expired, revoked, or not one of ours
│   ├── LoginRefused          the cluster refused the password
│   ├── PasswordExpired       right, and to be changed on the cluster first
│   ├── OtpRequired           the cluster asks for a one-time code
│   ├── CsrfFailed           an HTML form that this browser did not get from us
│   ├── SessionExpired            the session of this login is gone, or the login is over
│   ├── SessionHeldByWorker      a worker holds the session of this login, for tasks alone
│   ├── KeyRefused            the cluster no longer accepts the key of this login
│   ├── NotPermitted          known, and not allowed to do this
│   ├── Forbidden             not allowed by the site's policy, whose rule is named
│   └── TooManyAttempts       wrong passwords; wait before the next
├── LimitReached            a published limit; wait, then ask again
├── ClusterError            between us and the login node
│   ├── ClusterUnreachable    nothing was sent
│   ├── HostKeyMismatch       the host key is not the known one; nothing was sent
│   └── ContactLost           the connection broke after a step was sent
├── ActionError             the action ran and did not succeed
│   ├── CommandFailed         a step ended with a non-zero exit code or by a signal
│   ├── PathFailed            a file or folder of the cluster: missing, denied, a folder, …
│   ├── StepTimedOut          a step was ended at its time limit
│   ├── TaskCancelled         ended on request, or since the service was stopped
│   ├── OperationFailed       the operation said so: shell.fail("…")
│   ├── DaemonUnavailable            a daemon that the action needs is away; nothing was changed
│   └── OperationFault        a mistake in an operation's code
├── ServiceError            a part of the service is away
│   ├── QueueUnavailable
│   └── RecordsUnavailable
├── ServiceFault            a mistake of ours; the log has more
└── SetupError              found at start-up, shown to whoever runs resop
    ├── InvalidSettings
    └── BrokenOperator
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self


class ResopError(Exception):
    """Something went wrong in resop."""

    retryable: ClassVar[bool] = False
    """Whether the very same request may succeed later, and is safe to repeat."""

    def __init__(self, message: str | None = None, **details: Any) -> None:
        """The docstring of the class is the message when none is given.

        `details` are further JSON-serialisable facts (the failed step, the list of faults, …)
        that are shown beside the message.
        """
        self.message = message or (type(self).__doc__ or type(self).__name__).strip()
        self.details = details
        super().__init__(self.message)

    def own(self) -> Self:
        """A copy, for one of several who are told: each may add details, and raises it anew."""
        own = copy.copy(self)
        own.details, own.__cause__ = dict(self.details), self.__cause__
        return own

    def as_json(self) -> dict[str, Any]:
        """`{"type", "message", "retryable", …details}`: the `error` of an answer."""
        return {
            "type": type(self).__name__,
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


class UnknownBatch(RequestError):
    """There is no such batch."""


class InvalidOptions(RequestError):
    """The options are not valid."""

    def __init__(self, faults: list[dict[str, str]], message: str | None = None) -> None:
        """`faults` is `[{"field": name, "message": what is wrong}, …]`, one for every fault."""
        summary = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        super().__init__(message or summary, faults=faults)

    @classmethod
    def of(cls, field: str, message: str) -> Self:
        """Return the error for a single fault: `InvalidOptions.of("user", "must not be root")`."""
        return cls([{"field": field, "message": message}])


class IdempotencyKeyReused(RequestError):
    """This Idempotency-Key was already used for another request."""


class BodyTooLarge(RequestError):
    """The request body is too large."""


class UnsupportedBody(RequestError):
    """The request body is of an unknown type: send JSON or form fields."""


class BodyTruncated(RequestError):
    """The request body ended early, or nothing more of it came."""


class PreconditionFailed(RequestError):
    """The file is not as If-Match or If-None-Match want it."""


class RangeNotSatisfiable(RequestError):
    """The range lies outside of the file."""

    def __init__(self, size: int) -> None:
        """`size` of the file in bytes."""
        super().__init__(f"the file has {size} bytes", size=size)


class DigestMismatch(RequestError):
    """What arrived is not what was sent: its digest is another one; nothing of it was kept."""


class UploadMismatch(RequestError):
    """The part does not begin where the upload has come to."""

    def __init__(self, received: int) -> None:
        """`received` bytes are there."""
        super().__init__(f"the upload has come to byte {received}", received=received)


class AccessError(ResopError):
    """Access is refused."""


class NotLoggedIn(AccessError):
    """A token is needed: POST /auth/opn/login, then send 'Authorization: Bearer TOKEN'."""


class TokenRefused(AccessError):
    """The token is not valid: log in again."""


class LoginRefused(AccessError):
    """The cluster refused this user name and password."""


class PasswordExpired(AccessError):
    """The password has expired: change it on the cluster first."""


class OtpRequired(AccessError):
    """The cluster asks for a one-time code: send it as 'otp'."""


class CsrfFailed(AccessError):
    """The form is older than this login, or not one of ours: look at it and send it again."""


class SessionExpired(AccessError):
    """The session of this login has ended: log in again."""


class SessionHeldByWorker(AccessError):
    """A worker holds the connection of this login, for tasks alone: use actions, not /files."""


class KeyRefused(AccessError):
    """The cluster no longer accepts the key of this login: log in again."""


class NotPermitted(AccessError):
    """This user may not do this."""


class Forbidden(AccessError):
    """The site's policy forbids this."""


class TooManyAttempts(AccessError):
    """Too many logins failed: wait before the next."""

    retryable = True

    def __init__(self, retry_after: int) -> None:
        """`retry_after` in seconds."""
        super().__init__(
            f"too many logins failed: wait {retry_after} s before the next", retry_after=retry_after
        )


class LimitReached(ResopError):
    """A limit is reached: try again later."""

    retryable = True


class ClusterError(ResopError):
    """The cluster could not be used."""


class ClusterUnreachable(ClusterError):
    """The cluster cannot be reached; nothing was sent to it."""

    retryable = True


class HostKeyMismatch(ClusterError):
    """The cluster shows another host key than the known one; nothing was sent to it."""


class ContactLost(ClusterError):
    """Contact was lost after the step was sent: nobody knows whether it ran to its end."""


class ActionError(ResopError):
    """The action did not succeed."""


class CommandFailed(ActionError):
    """A command failed."""


PATH_REASONS = {
    "missing": "there is no such file or folder",
    "denied": "permission denied",
    "hidden": "lies where you may not look",
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


class PathFailed(ActionError):
    """A file or folder of the cluster cannot be used."""

    def __init__(self, path: str, reason: str, message: str | None = None, **details: Any) -> None:
        """`reason` is one of PATH_REASONS, for programs; `message` says more to people."""
        said = message or PATH_REASONS[reason]
        super().__init__(f"{path}: {said}", path=path, reason=reason, **details)


class StepTimedOut(ActionError):
    """A step reached its time limit and was ended."""


class TaskCancelled(ActionError):
    """The task was cancelled."""


class OperationFailed(ActionError):
    """The operation failed."""


class DaemonUnavailable(ActionError):
    """A daemon of the cluster does not answer; nothing was changed."""

    retryable = True


class OperationFault(ActionError):
    """There is a mistake in the operation's code; its traceback is in the worker's log."""


class ServiceError(ResopError):
    """A part of the service is away: try again later."""

    retryable = True


class QueueUnavailable(ServiceError):
    """The queue cannot be reached, so the task was not started: try again later."""


class RecordsUnavailable(ServiceError):
    """The database cannot be reached: try again later."""


class ServiceFault(ResopError):
    """A fault of the service; its log has more."""


class SetupError(ResopError):
    """The service cannot start."""


class InvalidSettings(SetupError):
    """The settings are not valid."""


class BrokenOperator(SetupError):
    """An operator cannot be loaded."""
