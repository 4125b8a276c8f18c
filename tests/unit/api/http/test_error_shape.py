"""Every error of the tree has one HTTP status, and one JSON shape."""

import pytest

from api.http.errors import error_response, failure, status_of, status_of_name
from resop import errors
from resop.errors import ResopError

PINNED = {
    "UnknownAction": 404,
    "UnknownTask": 404,
    "UnknownBatch": 404,
    "UnknownApiKey": 404,
    "InvalidOptions": 422,
    "IdempotencyKeyReused": 422,
    "BodyTooLarge": 413,
    "BodyTruncated": 400,
    "UnsupportedBody": 415,
    "UnsupportedEncoding": 415,
    "PreconditionFailed": 412,
    "RangeNotSatisfiable": 416,
    "DigestMismatch": 422,
    "UploadMismatch": 409,
    "TaskRunning": 409,
    "NotLoggedIn": 401,
    "TokenRefused": 401,
    "LoginRefused": 401,
    "PasswordExpired": 401,
    "OtpRequired": 401,
    "IdentityUnknown": 403,
    "CsrfFailed": 403,
    "SessionExpired": 401,
    "SessionHeldByWorker": 403,
    "KeyRefused": 401,
    "UnknownLogin": 404,
    "UserBlocked": 403,
    "NotPermitted": 403,
    "Forbidden": 403,
    "UnknownApproval": 404,
    "ApprovalDecided": 409,
    "RequesterLoggedOut": 409,
    "ApprovalRequired": 403,
    "ApprovalRefused": 403,
    "ApprovalExpired": 403,
    "ApprovalOutdated": 409,
    "TooManyAttempts": 429,
    "LimitReached": 429,
    "ClusterUnreachable": 502,
    "ClusterMisconfigured": 502,
    "HostKeyMismatch": 502,
    "ContactLost": 502,
    "CommandFailed": 424,
    "PathFailed": 424,
    "StepTimedOut": 504,
    "TaskCancelled": 409,
    "OperationFailed": 424,
    "JobNotFound": 404,
    "DaemonUnavailable": 424,
    "OperationFault": 500,
    "MalformedRequest": 400,
    "RequestTimedOut": 408,
    "UriTooLong": 414,
    "HostNotAllowed": 421,
    "HeadersTooLarge": 431,
    "ServiceBusy": 503,
    "QueueUnavailable": 503,
    "RecordsUnavailable": 503,
    "RecordRefused": 507,
    "ServiceFault": 500,
}


@pytest.mark.parametrize(("name", "status"), PINNED.items())
def test_each_error_is_answered_with_its_status(name: str, status: int) -> None:
    assert status_of(getattr(errors, name)) == status
    assert status_of_name(name) == status


def test_no_error_that_a_client_can_meet_is_left_out() -> None:
    tree = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, ResopError)
    }
    leaves = {kind.__name__ for kind in tree if not tree & set(kind.__subclasses__())}
    at_start_up = {kind.__name__ for kind in errors.SetupError.__subclasses__()}
    assert leaves - at_start_up == set(PINNED)


def test_an_error_of_unknown_name_in_the_record_is_our_fault() -> None:
    assert status_of_name("FromTheFuture") == 500


def test_a_failure_has_type_message_and_retryable() -> None:
    body = failure(errors.QueueUnavailable().as_json(), task="1")
    assert body["success"] is False
    assert body["task"] == "1"
    assert set(body["error"]) == {"type", "message", "retryable"}
    assert body["error"]["retryable"] is True


def test_too_many_attempts_say_how_long_to_wait() -> None:
    assert error_response(errors.TooManyAttempts(17)).headers["retry-after"] == "17"


def test_a_refused_access_names_the_scheme() -> None:
    assert error_response(errors.NotLoggedIn()).headers["www-authenticate"] == "Bearer"
