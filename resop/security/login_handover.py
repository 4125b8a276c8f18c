"""The way of a password from the API to the worker that will hold the session: sealed, and short.

Where a cluster takes no key of ours, the connection that was logged in is all there is, and the
worker has to open it. API and worker agree on a key that exists for this one login, in the memory
of these two processes (X25519; SECRET_KEY proves to each that the other is of this service).
What goes over Redis is published, never queued or kept, and cannot be opened by whoever records
it, not even with SECRET_KEY.

    API     -> OFFER          {"id", "cluster", "key"}
    workers -> ANSWER         {"id", "worker", "key"}        the first one that answers has it
    API     -> that worker    {"id", "sealed"}               who, password, code, credential
    worker  -> ANSWER         {"id", "sealed"}               the user's groups, or the error
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from resop.errors import ServiceFault
from resop.security.sealing import NONCE_BYTES, Encryptor

OFFER = "resop:login-offer"
ANSWER = "resop:login-answer"
TO_WORKER, TO_API = b"to the worker", b"to the API"


def channel_of(worker: str) -> str:
    """The channel that a worker listens to as long as it lives: who holds it is seen there."""
    return f"resop:worker.{worker}"


def fields(word: str | None, *names: str) -> list[str]:
    """These fields of a word, empty where it has none: anybody may say anything in Redis."""
    try:
        said = json.loads(word or "{}")
    except ValueError:
        said = {}
    return [str(said.get(name, "")) if isinstance(said, dict) else "" for name in names]


class LoginKeyExchange:
    """One end of the sealed way of one login."""

    def __init__(self, sealer: Encryptor, login: str) -> None:
        self._sealer = sealer
        self._login = login
        self._private = X25519PrivateKey.generate()
        self._box: AESGCM | None = None

    @property
    def key(self) -> str:
        """The public half, hex, for the other end."""
        return self._private.public_key().public_bytes_raw().hex()

    def derive(self, other: str) -> bool:
        """Agree with the other end, whose public half this is; False when it is none."""
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(other)))
        except ValueError:
            return False
        info = b"resop login " + self._login.encode()
        self._box = AESGCM(HKDF(SHA256(), 32, self._sealer.login_key, info).derive(shared))
        return True

    def encrypt(self, content: dict[str, Any], way: bytes) -> str:
        """Seal what goes one `way`, hex."""
        assert self._box is not None
        nonce = secrets.token_bytes(NONCE_BYTES)
        return (nonce + self._box.encrypt(nonce, json.dumps(content).encode(), way)).hex()

    def decrypt(self, sealed: str, way: bytes) -> dict[str, Any]:
        """Open what the other end sealed; ServiceFault when it was not that one."""
        assert self._box is not None
        try:
            raw = bytes.fromhex(sealed)
            opened = self._box.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], way)
        except (ValueError, InvalidTag):
            raise ServiceFault("a login was sealed by somebody else") from None
        content: dict[str, Any] = json.loads(opened)
        return content
