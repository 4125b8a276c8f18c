"""Say why a login shell did not run the line that it was given, in the words of ssh and sshd."""

from __future__ import annotations

from collections.abc import Mapping

from resop.errors import PasswordExpired, StepTimedOut
from resop.steps.output import RawResult

MAX_SHOWN = 200
LINGER = 1.0
"""Seconds after which the output of a finished script counts as complete, although a process that a
start-up file left in the background holds it open."""

_START_UP = "a start-up file of its login shell (such as ~/.bashrc)"
_REASONS: Mapping[str, str] = {
    ": restricted": "its login shell is restricted, as rbash is",
    "sftp connections only": "it may only transfer files (internal-sftp)",
    "account is currently not available": "its login shell is nologin",
    "Argument list too long": f"{_START_UP} makes the environment too large for any program",
}
"""Texts that are printed instead, and their causes."""


def check_password_expired(raw: RawResult) -> None:
    """Raise PasswordExpired if the cluster only lets the user set a new password."""
    # sshd accepts an expired password, but runs passwd in place of any command.
    if b"Password change required" in raw.stderr:
        raise PasswordExpired


def refusal_reason(raw: RawResult) -> str:
    """Return why the login shell did not run its line, and what was printed instead."""
    text = " ".join((raw.stdout or raw.stderr).decode("utf-8", "replace").split())
    printed = f"; it printed: {ascii(text[:MAX_SHOWN])[1:-1]}" if text else ""
    if raw.truncated:
        return f"{_START_UP} prints more than {len(raw.stdout)} bytes"
    everything = (raw.stdout + raw.stderr).decode("utf-8", "replace")
    for words, reason in _REASONS.items():
        if words in everything:
            return reason + printed
    if raw.exit_code == 0 and not raw.stdout:
        return f"{_START_UP} ends it or replaces it by another shell (exit, exec){printed}"
    return f"a forced command ran instead, or {_START_UP} ended it{printed}"


def too_slow(fault: StepTimedOut, seconds: float) -> StepTimedOut:
    """Return the error of a login shell that ran nothing within `seconds`."""
    return StepTimedOut(
        f"the login is accepted, but the login shell ran no command within {seconds:g} s: "
        f"{_START_UP} takes longer, or waits for something",
        **fault.details,
    )
