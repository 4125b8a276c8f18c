"""Hand a password from the API to the worker that will hold the session, over Redis.

Where a cluster accepts no key of resop's, the connection that was logged in is all there is, so
the worker must open it. API and worker agree on a key that exists for this one login, in the
memory of these two processes (X25519; SECRET_KEY proves to each that the other belongs to this
service). The messages are published, never queued or stored, and a client of Redis that
records them cannot decrypt them, not even with SECRET_KEY.

    API     -> all workers    LoginOffer     the cluster, the API's public key
    workers -> API            LoginAccepted  the worker's public key; the first worker is chosen
    API     -> that worker    LoginRequest   encrypted: user, password, code, credential
    worker  -> API            LoginResult    encrypted: the user's groups, or the error
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
from resop.security.encryption import NONCE_BYTES, Encryptor

TO_WORKER, TO_API = b"to the worker", b"to the API"
"""The direction of a message: one that is sent back is not accepted."""


class LoginKeyExchange:
    """One end of the key exchange for one login."""

    def __init__(self, encryptor: Encryptor, login: str) -> None:
        self._encryptor = encryptor
        self._login = login
        self._private_key = X25519PrivateKey.generate()
        self._shared_key: AESGCM | None = None

    @property
    def public_key(self) -> str:
        """The public key for the other end, hex."""
        return self._private_key.public_key().public_bytes_raw().hex()

    def derive(self, public_key: str) -> bool:
        """Derive the shared key from the other end's public key; return False if it is none."""
        try:
            peer = X25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
            secret = self._private_key.exchange(peer)
        except ValueError:
            return False
        info = b"resop login " + self._login.encode()
        self._shared_key = AESGCM(
            HKDF(SHA256(), 32, self._encryptor.login_key, info).derive(secret)
        )
        return True

    def encrypt(self, content: dict[str, Any], direction: bytes) -> str:
        """Encrypt what is sent in one direction; returns hex."""
        assert self._shared_key is not None
        nonce = secrets.token_bytes(NONCE_BYTES)
        encrypted = self._shared_key.encrypt(nonce, json.dumps(content).encode(), direction)
        return (nonce + encrypted).hex()

    def decrypt(self, encrypted: str, direction: bytes) -> dict[str, Any]:
        """Decrypt what the other end sent. Raises ServiceFault if somebody else encrypted it."""
        assert self._shared_key is not None
        try:
            data = bytes.fromhex(encrypted)
            decrypted = self._shared_key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], direction)
        except (ValueError, InvalidTag):
            raise ServiceFault("a login was encrypted by another process") from None
        content: dict[str, Any] = json.loads(decrypted)
        return content
