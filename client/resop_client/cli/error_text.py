"""Errors in one or two lines: what is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from resop_client import errors
from resop_client.cli.exit_codes import ExitCode, exit_code_of

MAX_FAULTS = 20
MAX_STDERR_LINES = 10


def lines_of(error: errors.ResopError | TimeoutError, url: str = "") -> Iterator[str]:
    """Yield the lines that tell a person of an error; `url` is the service that was used."""
    if isinstance(error, TimeoutError):
        yield str(error)
        return
    yield from _what_is_wrong(error)
    if error.undone:
        yield f"undone: {'; '.join(map(str, error.undone))}"
    if error.needs_repair:
        yield f"somebody has to look at: {'; '.join(map(str, error.needs_repair))}"
    if hint := _next_step(error, url):
        yield hint


def _what_is_wrong(error: errors.ResopError) -> Iterator[str]:
    if error.faults:
        for fault in error.faults[:MAX_FAULTS]:
            yield f"{fault['field']}: {fault['message']}" if fault["field"] else fault["message"]
        if len(error.faults) > MAX_FAULTS:
            yield f"… and {len(error.faults) - MAX_FAULTS} more"
        return
    first, *rest = error.message.splitlines() or [type(error).__name__]
    yield first
    yield from rest[:MAX_STDERR_LINES]


def _next_step(error: errors.ResopError, url: str) -> str:
    """Return what to do next; an empty string if the message says it, or nothing helps."""
    match error:
        case errors.NotLoggedIn():
            return f"log in first: resop login {url or 'https://…'}"
        case errors.TokenRefused() | errors.SessionExpired() | errors.KeyRefused():
            return "log in again: resop login"
        case errors.LoginRefused():
            return "check the user name (-u) and the password"
        case errors.PasswordExpired():
            return "change the password on the cluster (ssh, or ask its help desk)"
        case errors.ApprovalRequired() | errors.ApprovalRefused() | errors.ApprovalExpired():
            return ""
        case errors.ConnectionFailed():
            return "check the network, and the address of the service: resop profiles"
    if isinstance(error, errors.LimitReached) and error.retry_after is not None:
        return f"try again in {error.retry_after:.0f} s"
    code = exit_code_of(error)
    if code == ExitCode.INVALID and error.faults and error.task is None:
        return ""
    if error.task is not None and not isinstance(error, errors.RequestError):
        return f"details: resop tasks show {error.task}"
    if error.retryable:
        return "nothing was done: try again"
    return ""
