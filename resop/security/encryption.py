"""Encrypt tokens (held by clients) and payloads and keys (stored in the database).

The keys for what passes through Redis are derived here too; `message_encryption` and
`message_signing` use them.

Each use has its own key, derived from SECRET_KEY. A credential's private key is encrypted with
SECRET_KEY and with a key share that only the token carries: neither a stolen database nor a
stolen token is enough to decrypt it. The same holds for the secrets of an answer.
"""

from __future__ import annotations

import hmac
import json
import secrets
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from resop.clock import unix_time
from resop.errors import TokenRefused
from resop.security.tokens import Token

NONCE_BYTES = 12
MAX_TOKEN_CHARACTERS = 4096
MAX_CACHED_TOKENS = 1024


class Encryptor:
    """Encrypts and decrypts with keys derived from SECRET_KEY."""

    def __init__(self, secret_key: bytes, previous_key: bytes | None = None) -> None:
        """Encrypt with `secret_key`, and decrypt what `previous_key` encrypted as well."""
        self._secret_key = secret_key
        self.previous = Encryptor(previous_key) if previous_key else None
        self._token_key = OctKey.import_key(self._derive(b"token"))
        # Each token is decrypted once, not at each request; refusals are not cached.
        self._decrypt_cached = lru_cache(MAX_CACHED_TOKENS)(self._decrypt_token)
        # The names of uses are part of stored data: to change one makes it unreadable.
        self._payload_key = AESGCM(self._derive(b"envelope"))
        self._digest_key = self._derive(b"digest")
        self._message_key, self._queue_key = self._derive(b"message"), self._derive(b"queue")
        self.login_key = self._derive(b"login")
        """Proves to either end of a login key exchange that the other belongs to this service."""
        self.audit_key = self._derive(b"audit")
        """Makes the digests of audit entries."""
        self.instance = self._derive(b"instance").hex()[:12]
        """The name of this service (on all its machines) in authorized_keys files."""

    @property
    def instances(self) -> frozenset[str]:
        """The names that lines of this service may have in authorized_keys files."""
        return frozenset(
            {self.instance, self.previous.instance if self.previous else self.instance}
        )

    @property
    def message_keys(self) -> tuple[bytes, ...]:
        """The keys of `message_encryption`: the one that encrypts, then others that decrypt."""
        return (self._message_key, *(self.previous.message_keys if self.previous else ()))

    @property
    def queue_keys(self) -> tuple[bytes, ...]:
        """The keys of `message_signing`: the one that signs, then others that check."""
        return (self._queue_key, *(self.previous.queue_keys if self.previous else ()))

    def issue_token(self, token: Token) -> str:
        """Return the token for the client: a JWE, encrypted with a key only the service has."""
        header = {"alg": "dir", "enc": "A256GCM"}
        return jwe.encrypt_compact(header, json.dumps(token.as_json()), self._token_key)

    def read_token(self, text: str) -> Token:
        """Decrypt a token. Raises TokenRefused if it is not this service's, or expired."""
        if len(text) > MAX_TOKEN_CHARACTERS:
            raise TokenRefused("the token is not valid: log in again")
        token = self._decrypt_cached(text)
        if token.expires <= unix_time():
            raise TokenRefused("the token has expired: log in again")
        return token

    def read_ended_token(self, text: str) -> Token | None:
        """Decrypt a token that may have expired; None if it is not this service's."""
        if len(text) > MAX_TOKEN_CHARACTERS:
            return None
        try:
            return self._decrypt_cached(text)
        except TokenRefused:
            return None

    def _decrypt_token(self, text: str) -> Token:
        try:
            decrypted = jwe.decrypt_compact(text, self._token_key, algorithms=["dir", "A256GCM"])
            return Token(**json.loads(decrypted.plaintext or b"{}"))
        except (JoseError, InvalidTag, ValueError, TypeError, KeyError):
            if self.previous:
                return self.previous._decrypt_token(text)
            raise TokenRefused("the token is not valid: log in again") from None

    def encrypt(self, content: dict[str, Any], task_id: str) -> bytes:
        """Encrypt the secret part of a task, for this task id only."""
        return _encrypt(self._payload_key, json.dumps(content).encode(), task_id)

    def decrypt(self, payload: bytes, task_id: str) -> dict[str, Any]:
        """Decrypt the payload of a task. Raises TokenRefused if key or task id do not match."""
        try:
            decrypted = _decrypt(self._payload_key, payload, task_id)
        except (InvalidTag, ValueError):
            if self.previous:
                return self.previous.decrypt(payload, task_id)
            raise TokenRefused("the task was encrypted with another SECRET_KEY") from None
        content: dict[str, Any] = json.loads(decrypted)
        return content

    def encrypt_answer(self, content: dict[str, Any], task_id: str, key_share: str) -> bytes:
        """Encrypt the secrets of a task's answer, for the login whose token has the key share."""
        return _encrypt(self._answer_key(key_share), json.dumps(content).encode(), task_id)

    def decrypt_answer(self, data: bytes, task_id: str, key_share: str) -> dict[str, Any]:
        """Decrypt the secrets of an answer. Raises TokenRefused for another login's."""
        try:
            decrypted = _decrypt(self._answer_key(key_share), data, task_id)
        except (InvalidTag, ValueError):
            if self.previous:
                return self.previous.decrypt_answer(data, task_id, key_share)
            raise TokenRefused("only the login that ran the task can read its secrets") from None
        content: dict[str, Any] = json.loads(decrypted)
        return content

    def digest(self, *parts: str) -> str:
        """Return a keyed digest (hex) of texts; nobody can guess texts without SECRET_KEY."""
        return hmac.digest(self._digest_key, json.dumps(parts).encode(), "sha256").hex()

    def encrypt_key(self, private_key: bytes, credential: str, key_share: str) -> bytes:
        """Encrypt a credential's private key with SECRET_KEY and the token's key share."""
        return _encrypt(self._credential_key(key_share), private_key, credential)

    def decrypt_key(self, encrypted_key: bytes, credential: str, key_share: str) -> bytes:
        """Decrypt a private key. Raises TokenRefused if token and credential do not match."""
        try:
            return _decrypt(self._credential_key(key_share), encrypted_key, credential)
        except (InvalidTag, ValueError):
            if self.previous:
                return self.previous.decrypt_key(encrypted_key, credential, key_share)
            raise TokenRefused("the token does not fit its credential: log in again") from None

    def _credential_key(self, key_share: str) -> AESGCM:
        return AESGCM(self._derive(b"credential", salt=bytes.fromhex(key_share)))

    def _answer_key(self, key_share: str) -> AESGCM:
        return AESGCM(self._derive(b"answer", salt=bytes.fromhex(key_share)))

    def _derive(self, use: bytes, salt: bytes | None = None) -> bytes:
        return HKDF(SHA256(), 32, salt=salt, info=b"resop " + use).derive(self._secret_key)


def _encrypt(key: AESGCM, content: bytes, context: str) -> bytes:
    """Return nonce and ciphertext; `_decrypt` needs the same `context`."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + key.encrypt(nonce, content, context.encode())


def _decrypt(key: AESGCM, data: bytes, context: str) -> bytes:
    """Decrypt. Raises InvalidTag or ValueError for another key or context, or damaged data."""
    return key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], context.encode())
