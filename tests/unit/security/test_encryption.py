"""Tokens, payloads and keys: decrypted by what they were made for, and by nothing else."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import OctKey

from resop.errors import TokenRefused
from resop.security.encryption import MAX_TOKEN_CHARACTERS, Encryptor
from resop.security.tokens import Token, new_key_share

KEY = b"Zk3wVb9qLx7TgH2mRd5sNc8yPf4jUa6e"
ENCRYPTOR = Encryptor(KEY)
OTHER = Encryptor(KEY[::-1])


def token(seconds: int = 60) -> Token:
    return Token("ada", "tango", "id-1", new_key_share(), int(time.time()) + seconds)


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


# -- digests


def test_digest_is_the_same_for_the_same_texts_under_the_same_key_only() -> None:
    known = ENCRYPTOR.digest("ada", "hpc", "é")
    assert len(known) == 64 and known == Encryptor(KEY).digest("ada", "hpc", "é")
    others = [ENCRYPTOR.digest("ada", 'hpc", "é'), ENCRYPTOR.digest("adah", "pc", "é")]
    assert known not in [*others, OTHER.digest("ada", "hpc", "é")]


# -- tokens


def test_token_reads_back_as_it_was_issued() -> None:
    issued = token()
    assert ENCRYPTOR.read_token(ENCRYPTOR.issue_token(issued)) == issued
    assert Encryptor(KEY).read_token(ENCRYPTOR.issue_token(issued)) == issued, (
        "every process of a service reads it"
    )


def test_token_shows_nothing_of_what_it_carries() -> None:
    issued = token()
    parts = ENCRYPTOR.issue_token(issued).split(".")
    opened = b"".join(base64.urlsafe_b64decode(part + "==") for part in parts)
    for value in ("ada", "tango", "id-1", issued.key_share):
        assert value.encode() not in opened


def test_two_tokens_of_one_login_differ() -> None:
    issued = token()
    assert ENCRYPTOR.issue_token(issued) != ENCRYPTOR.issue_token(issued)


def test_token_fits_into_a_header() -> None:
    longest = dataclasses.replace(token(), username="u" * 64, cluster="c" * 63, credential="i" * 36)
    assert len(ENCRYPTOR.issue_token(longest)) < MAX_TOKEN_CHARACTERS / 4


@pytest.mark.parametrize("seconds", [0, -1, -3600])
def test_expired_token_is_refused_and_says_why(seconds: int) -> None:
    with pytest.raises(TokenRefused, match="has expired: log in again"):
        ENCRYPTOR.read_token(ENCRYPTOR.issue_token(token(seconds)))


def test_end_of_a_token_is_in_utc() -> None:
    issued = dataclasses.replace(token(), expires=1_767_225_600)
    assert issued.expires_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_token_of_another_service_is_refused() -> None:
    with pytest.raises(TokenRefused, match="not valid"):
        OTHER.read_token(ENCRYPTOR.issue_token(token()))


@pytest.mark.parametrize("part", range(5))
def test_token_changed_in_any_part_is_refused(part: int) -> None:
    parts = ENCRYPTOR.issue_token(token()).split(".")
    content = bytearray(base64.urlsafe_b64decode(parts[part] + "==") or b"\x00")
    content[0] ^= 1
    parts[part] = base64url(bytes(content))
    with pytest.raises(TokenRefused, match="not valid"):
        ENCRYPTOR.read_token(".".join(parts))


def forged(header: dict[str, object], key: OctKey, content: object) -> str:
    return jwe.encrypt_compact(header, json.dumps(content), key)


GCM: dict[str, object] = {"alg": "dir", "enc": "A256GCM"}
OWN_KEY: OctKey = ENCRYPTOR._token_key


@pytest.mark.parametrize(
    "make",
    [
        lambda: forged(GCM, OctKey.generate_key(256), dataclasses.asdict(token())),
        lambda: forged({**GCM, "alg": "A256KW"}, OWN_KEY, dataclasses.asdict(token())),
        lambda: forged(GCM, OWN_KEY, {"username": "ada"}),
        lambda: forged(GCM, OWN_KEY, {**dataclasses.asdict(token()), "admin": True}),
        lambda: forged(GCM, OWN_KEY, ["ada"]),
    ],
    ids=["key", "algorithm", "too little", "too much", "list"],
)
def test_forged_token_is_refused(make: Callable[[], str]) -> None:
    with pytest.raises(TokenRefused, match="not valid"):
        ENCRYPTOR.read_token(make())


HEADERS = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff",
    b'{"alg":"none"}',
    b'{"alg":"dir"}',
    b'{"alg":"dir","enc":"A256GCM"}',
    b'{"alg":"dir","enc":["A256GCM"]}',
    b'{"alg":{"a":1},"enc":"A256GCM"}',
    b'{"alg":"dir","enc":"A256GCM","zip":"DEF"}',
    b'{"alg":"dir","enc":"A256GCM","crit":["exp"]}',
    b"[" * 2900,
    b'{"a":' * 580,
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "rest", ["....", "..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA", ".a.b.c.d"]
)
def test_garbled_token_is_refused_and_nothing_else(header: bytes, rest: str) -> None:
    with pytest.raises(TokenRefused, match="not valid"):
        ENCRYPTOR.read_token(base64url(header) + rest)


@pytest.mark.parametrize(
    "text", ["", ".", "....", "é.é.é.é.é", "\ud800", "a" * 4097, "eyJ.\x00...", " "]
)
def test_other_text_than_a_token_is_refused(text: str) -> None:
    with pytest.raises(TokenRefused, match="not valid"):
        ENCRYPTOR.read_token(text)


@settings(deadline=None)
@given(text=st.text(max_size=200))
def test_random_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(TokenRefused):
        ENCRYPTOR.read_token(text)


# -- encrypted payloads of tasks

CONTENT = {"options": {"password": "hunter2", "name": "é😀", "list": [1, None]}, "key_share": "ab"}


def test_payload_is_decrypted_for_its_task() -> None:
    encrypted = ENCRYPTOR.encrypt(CONTENT, "task-1")
    assert ENCRYPTOR.decrypt(encrypted, "task-1") == CONTENT
    assert b"hunter2" not in encrypted
    assert ENCRYPTOR.encrypt(CONTENT, "task-1") != encrypted


@pytest.mark.parametrize(
    ("encryptor", "task", "change"),
    [
        (ENCRYPTOR, "task-2", bytes),
        (OTHER, "task-1", bytes),
        (ENCRYPTOR, "task-1", lambda encrypted: encrypted[:-1]),
        (ENCRYPTOR, "task-1", lambda encrypted: bytes([encrypted[0] ^ 1]) + encrypted[1:]),
        (ENCRYPTOR, "task-1", lambda encrypted: encrypted[:-1] + bytes([encrypted[-1] ^ 1])),
        (ENCRYPTOR, "task-1", lambda encrypted: encrypted[:12]),
        (ENCRYPTOR, "task-1", lambda encrypted: encrypted[:5]),
        (ENCRYPTOR, "task-1", lambda encrypted: b""),
    ],
    ids=["task", "key", "cut", "nonce", "tag", "nonce alone", "short", "empty"],
)
def test_payload_is_decrypted_for_nothing_else(
    encryptor: Encryptor, task: str, change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(TokenRefused):
        encryptor.decrypt(change(ENCRYPTOR.encrypt(CONTENT, "task-1")), task)


# -- keys of credentials


def test_private_key_needs_the_secret_key_the_key_share_and_its_credential() -> None:
    key_share = new_key_share()
    encrypted = ENCRYPTOR.encrypt_key(b"PRIVATE", "id-1", key_share)
    assert ENCRYPTOR.decrypt_key(encrypted, "id-1", key_share) == b"PRIVATE"
    assert b"PRIVATE" not in encrypted
    for encryptor, credential, other in (
        (ENCRYPTOR, "id-1", new_key_share()),
        (ENCRYPTOR, "id-1", key_share[:-2]),
        (ENCRYPTOR, "id-1", ""),
        (ENCRYPTOR, "id-1", "no hex"),
        (ENCRYPTOR, "id-2", key_share),
        (OTHER, "id-1", key_share),
    ):
        with pytest.raises(TokenRefused, match="log in again"):
            encryptor.decrypt_key(encrypted, credential, other)
    for damaged in (b"", encrypted[:5], encrypted[:-1]):
        with pytest.raises(TokenRefused, match="log in again"):
            ENCRYPTOR.decrypt_key(damaged, "id-1", key_share)


def test_keys_of_the_three_uses_are_not_exchangeable() -> None:
    encrypted = ENCRYPTOR.encrypt({}, "id-1")
    with pytest.raises(TokenRefused):
        ENCRYPTOR.decrypt_key(encrypted, "id-1", new_key_share())
    as_token = forged(GCM, OctKey.import_key(ENCRYPTOR._derive(b"envelope")), {})
    with pytest.raises(TokenRefused):
        ENCRYPTOR.read_token(as_token)


def test_instance_names_the_service_and_not_its_key() -> None:
    assert ENCRYPTOR.instance == Encryptor(KEY).instance != OTHER.instance
    assert len(ENCRYPTOR.instance) == 12
    int(ENCRYPTOR.instance, 16)


def test_every_key_share_is_new() -> None:
    key_shares = {new_key_share() for _ in range(100)}
    assert len(key_shares) == 100
    assert {len(key_share) for key_share in key_shares} == {64}


def test_previous_key_decrypts_and_no_longer_encrypts() -> None:
    rotated = Encryptor(KEY[::-1], KEY)
    issued, key_share = token(), new_key_share()
    assert rotated.read_token(ENCRYPTOR.issue_token(issued)) == issued
    assert rotated.decrypt(ENCRYPTOR.encrypt({"a": 1}, "id-1"), "id-1") == {"a": 1}
    assert (
        rotated.decrypt_key(ENCRYPTOR.encrypt_key(b"key", "id-1", key_share), "id-1", key_share)
        == b"key"
    )
    assert rotated.instances == {ENCRYPTOR.instance, OTHER.instance}
    with pytest.raises(TokenRefused):
        ENCRYPTOR.read_token(rotated.issue_token(issued))
    assert OTHER.read_token(rotated.issue_token(issued)) == issued
