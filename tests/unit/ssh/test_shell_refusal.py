"""Why a login shell ran no command, in the words of the field."""

import pytest

from resop.errors import PasswordExpired
from resop.ssh.shell_refusal import check_password_expired, refusal_reason
from resop.steps.output import RawResult

START_UP = "a start-up file of its login shell (such as ~/.bashrc)"
REASONS = {
    RawResult(b"This account is currently not available.\n", b"", 1, 0, False): (
        "its login shell is nologin; it printed: This account is currently not available."
    ),
    RawResult(b"This service allows sftp connections only.\n", b"", 1, 0, False): (
        "it may only transfer files (internal-sftp); "
        "it printed: This service allows sftp connections only."
    ),
    RawResult(b"", b"rbash: line 1: /bin/sh: restricted: cannot specify `/'\n", 1, 0, False): (
        "its login shell is restricted, as rbash is; "
        "it printed: rbash: line 1: /bin/sh: restricted: cannot specify `/'"
    ),
    RawResult(b"", b"", 0, 0, False): (
        f"{START_UP} ends it or replaces it by another shell (exit, exec)"
    ),
    RawResult(b"", b"motd\n", 0, 0, False): (
        f"{START_UP} ends it or replaces it by another shell (exit, exec); it printed: motd"
    ),
    RawResult(b"down until 8\n\xff", b"", 0, 0, False): (
        f"a forced command ran instead, or {START_UP} ended it; it printed: down until 8 \\ufffd"
    ),
    RawResult(b"x" * 1000, b"", 0, 0, True): f"{START_UP} prints more than 1000 bytes",
}


def test_the_cause_is_named_with_what_was_printed() -> None:
    assert {raw: refusal_reason(raw) for raw in REASONS} == REASONS


def test_password_that_must_be_changed_first_is_told_apart() -> None:
    check_password_expired(RawResult(b"", b"You must", 1, 0, False))
    with pytest.raises(PasswordExpired):
        check_password_expired(
            RawResult(b"", b"Password change required but no TTY available.\n", 1, 0, False)
        )
