"""Store logins between runs: the token in the desktop's keyring, or in a file of mode 0600."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import platformdirs

from resop_client.errors import RequestError

DEFAULT_PROFILE = "default"
_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEYRING_SERVICE = "resop"
_CHOSEN_FILE = "chosen"
RENEW_BEFORE = timedelta(minutes=30)
"""A token that ends so soon is renewed."""


@dataclass(frozen=True, slots=True)
class Login:
    """A token, where it is valid, whose it is and until when."""

    url: str
    token: str
    username: str = ""
    cluster: str = ""
    expires_at: str = ""
    """The end of the token; empty if it is not known."""
    login_expires_at: str = ""
    """Until when it can be renewed; empty if it cannot."""

    def ends_soon(self, now: datetime | None = None) -> bool:
        """Return True if the token should be renewed, and can be."""
        now = now or datetime.now(UTC)
        if not self.expires_at or not self.login_expires_at:
            return False
        if self.login_expires_at <= self.expires_at:
            return False
        return now < datetime.fromisoformat(self.expires_at) < now + RENEW_BEFORE


class Keyring(Protocol):
    """The part of the package keyring that is used here."""

    def get_password(self, service: str, username: str) -> str | None:
        """Return a stored secret."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store a secret."""

    def delete_password(self, service: str, username: str) -> None:
        """Delete a secret."""


class LoginStore:
    """The stored logins, one for each profile."""

    def __init__(self, folder: Path | None = None, keyring: Keyring | None = None) -> None:
        """Use the user's own configuration folder unless another is given."""
        self.folder = folder or platformdirs.user_config_path("resop") / "logins"
        self._keyring = keyring

    def load(self, profile: str) -> Login | None:
        """Return the login of a profile, or None if there is none."""
        try:
            values = json.loads(self._file(profile).read_text(encoding="utf-8"))
            login = Login(**values)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return None  # not written by this version: log in again
        if login.token or self._keyring is None:
            return login if login.token else None
        token = self._keyring.get_password(_KEYRING_SERVICE, profile)
        return replace(login, token=token) if token else None

    def save(self, profile: str, login: Login) -> None:
        """Store a login; its file can be read by its owner only."""
        if self._keyring is not None:
            self._keyring.set_password(_KEYRING_SERVICE, profile, login.token)
            login = replace(login, token="")  # nosec B106: the keyring has it
        file = self._file(profile)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes the file with mode 0600, and nobody sees half a file under its name.
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{profile}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(asdict(login), stream)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def remove(self, profile: str) -> None:
        """Forget a login."""
        self._file(profile).unlink(missing_ok=True)
        if self._keyring is not None:
            # The package has a class of errors for each of its backends.
            with contextlib.suppress(Exception):
                self._keyring.delete_password(_KEYRING_SERVICE, profile)

    def profiles(self) -> list[str]:
        """Return the names of the profiles that have a login."""
        return sorted(file.stem for file in self.folder.glob("*.json"))

    def chosen(self) -> str | None:
        """Return the profile that is used if none is named; None if none was chosen."""
        try:
            name = (self.folder / _CHOSEN_FILE).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return name if _PROFILE_NAME.fullmatch(name) else None

    def choose(self, profile: str) -> None:
        """Use a profile from now on if none is named."""
        self._file(profile)  # its name is valid
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / _CHOSEN_FILE).write_text(f"{profile}\n", encoding="utf-8")

    def _file(self, profile: str) -> Path:
        if not _PROFILE_NAME.fullmatch(profile):
            raise RequestError(
                f"{profile!r} is not a profile's name: use letters, digits, '.', '_' and '-'"
            )
        return self.folder / f"{profile}.json"


def default_store() -> LoginStore:
    """Return the user's store: with the keyring, if the package is there and has a backend."""
    if os.environ.get("RESOP_KEYRING", "").lower() in ("0", "no", "off", "false"):
        return LoginStore()
    try:
        import keyring
        from keyring.backends import fail
    except ImportError:
        return LoginStore()
    if isinstance(keyring.get_keyring(), fail.Keyring):
        return LoginStore()
    return LoginStore(keyring=keyring)
