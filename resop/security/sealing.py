"""Tokens (what the client shows) and sealed envelopes (what rests in the database).

Four keys are derived from SECRET_KEY, one for each use. A credential's private key is sealed
with SECRET_KEY and with a half that only the token holds: neither a stolen database nor a
stolen token is enough to open it.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from resop.errors import TokenRefused
from resop.security.tokens import Token

NONCE_BYTES = 12
LONGEST_TOKEN = 4096
TOKENS_KEPT = 1024


class Encryptor:
    """Makes and opens tokens and envelopes with keys derived from SECRET_KEY."""

    def __init__(self, secret_key: bytes, old_key: bytes | None = None) -> None:
        """What was sealed with `old_key` opens, too; nothing is sealed with it any more."""
        self._secret_key = secret_key
        self.previous = Encryptor(old_key) if old_key else None
        self._token_key = OctKey.import_key(self._derive(b"token"))
        # Opened once, not at each request; a refusal is not kept.
        self._open = lru_cache(TOKENS_KEPT)(self._open_token)
        self._envelope = AESGCM(self._derive(b"envelope"))
        self._digest_key = self._derive(b"digest")
        self.login_key = self._derive(b"login")
        """Proves to either end of a login handover that the other one belongs to this service."""
        self.instance = self._derive(b"instance").hex()[:12]
        """Names this service (all its machines) in an authorized_keys file."""

    @property
    def instances(self) -> frozenset[str]:
        """All the names that lines of this service may have."""
        return frozenset(
            {self.instance, self.previous.instance if self.previous else self.instance}
        )

    def issue_token(self, token: Token) -> str:
        """The token as the client gets it: JWE, encrypted with a key only the service has."""
        header = {"alg": "dir", "enc": "A256GCM"}
        return jwe.encrypt_compact(header, json.dumps(asdict(token)), self._token_key)

    def read_token(self, text: str) -> Token:
        """Open a token; TokenRefused when it is not one of ours or has expired."""
        if len(text) > LONGEST_TOKEN:
            raise TokenRefused("the token is not valid: log in again")
        token = self._open(text)
        if token.expires <= time.time():
            raise TokenRefused("the token has expired: log in again")
        return token

    def _open_token(self, text: str) -> Token:
        try:
            opened = jwe.decrypt_compact(text, self._token_key, algorithms=["dir", "A256GCM"])
            return Token(**json.loads(opened.plaintext or b"{}"))
        except (JoseError, InvalidTag, ValueError, TypeError, KeyError):
            if self.previous:
                return self.previous._open_token(text)
            raise TokenRefused("the token is not valid: log in again") from None

    def encrypt(self, content: dict[str, Any], task_id: str) -> bytes:
        """Seal the secret part of a task; it opens for this task id only."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._envelope.encrypt(nonce, json.dumps(content).encode(), task_id.encode())

    def decrypt(self, sealed: bytes, task_id: str) -> dict[str, Any]:
        """Open what `seal` made; TokenRefused when key or task are others."""
        try:
            opened = self._envelope.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], task_id.encode()
            )
        except (InvalidTag, ValueError):
            if self.previous:
                return self.previous.decrypt(sealed, task_id)
            raise TokenRefused("the task was sealed with another SECRET_KEY") from None
        content: dict[str, Any] = json.loads(opened)
        return content

    def digest(self, *parts: str) -> str:
        """Hex by which the same texts are known again; who lacks SECRET_KEY cannot try any out."""
        return hmac.digest(self._digest_key, json.dumps(parts).encode(), "sha256").hex()

    def encrypt_key(self, private_key: bytes, credential: str, half: str) -> bytes:
        """Seal a credential's private key with SECRET_KEY and the token's half."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._key_box(half).encrypt(nonce, private_key, credential.encode())

    def decrypt_key(self, sealed: bytes, credential: str, half: str) -> bytes:
        """Open what `seal_key` made; TokenRefused when any part does not belong together."""
        try:
            return self._key_box(half).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], credential.encode()
            )
        except (InvalidTag, ValueError):
            if self.previous:
                return self.previous.decrypt_key(sealed, credential, half)
            raise TokenRefused("the token does not fit its credential: log in again") from None

    def _key_box(self, half: str) -> AESGCM:
        return AESGCM(self._derive(b"credential", salt=bytes.fromhex(half)))

    def _derive(self, use: bytes, salt: bytes | None = None) -> bytes:
        return HKDF(SHA256(), 32, salt=salt, info=b"resop " + use).derive(self._secret_key)
