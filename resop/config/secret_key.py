"""The secret key: refused if it is weak, and created for a single machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from resop.errors import InvalidSettings

MIN_CHARACTERS = 32
_HOW_TO_CREATE = "create one with: openssl rand -base64 48"
_EXAMPLE_WORDS = ("change", "example", "secret", "password", "default", "insecure", "test")


def refuse_weak_key(key: str) -> None:
    """Raise ValueError for a key that is short, repetitive or an example."""
    if len(key) < MIN_CHARACTERS:
        raise ValueError(
            f"SECRET_KEY has {len(key)} characters, {MIN_CHARACTERS} are needed: {_HOW_TO_CREATE}"
        )
    if len(set(key)) < MIN_CHARACTERS / 4 or any(word in key.lower() for word in _EXAMPLE_WORDS):
        raise ValueError(f"SECRET_KEY is not random: {_HOW_TO_CREATE}")


def stored_key(file: Path) -> bytes:
    """Return the key in `file`, which is created if it is missing. Raises InvalidSettings."""
    try:
        if not file.exists():
            _create(file)
        key = file.read_bytes().strip()
    except OSError as fault:
        raise InvalidSettings(f"DATA_DIR: the secret key cannot be stored: {fault}") from None
    if len(key) < MIN_CHARACTERS:
        raise InvalidSettings(f"{file}: the secret key is damaged; restore the file from a backup")
    return key


def _create(file: Path) -> None:
    """Create the file atomically: of several starting processes one does, and all read it."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix="secret_key.")  # mode 600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_urlsafe(48).encode())
            stream.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        Path(temporary).unlink()
