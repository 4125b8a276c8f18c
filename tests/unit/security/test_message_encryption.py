"""Encrypted messages: decrypted once, on their channel, with a key of the service, and in time."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resop.security import message_encryption
from resop.security.encryption import Encryptor
from resop.security.message_encryption import (
    MAX_AGE_SECONDS,
    OVERHEAD_BYTES,
    WINDOW,
    MessageDecryptor,
    MessageEncryptor,
    RefusedMessage,
)

KEYS = Encryptor(b"k" * 40).message_keys
CONTENT = b'{"type": "TaskEnded", "task": "0815"}'


def encrypted(channel: str = "a", content: bytes = CONTENT) -> bytes:
    return MessageEncryptor(KEYS).encrypt(channel, content)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary())
def test_message_decrypts_as_it_was_encrypted(channel: str, content: bytes) -> None:
    message = encrypted(channel, content)
    assert MessageDecryptor(KEYS).decrypt(channel, message) == content
    assert len(message) == len(content) + OVERHEAD_BYTES


def test_message_shows_nothing_of_its_content() -> None:
    for part in (b"TaskEnded", b"0815", b"task"):
        assert part not in encrypted()


def test_message_is_refused_a_second_time() -> None:
    decryptor, message = MessageDecryptor(KEYS), encrypted()
    decryptor.decrypt("a", message)
    for _ in range(3):
        with pytest.raises(RefusedMessage, match="repeated"):
            decryptor.decrypt("a", message)
    assert decryptor.decrypt("a", encrypted()) == CONTENT


def test_message_is_refused_on_another_channel() -> None:
    with pytest.raises(RefusedMessage, match="on this channel"):
        MessageDecryptor(KEYS).decrypt("b", encrypted("a"))


def test_message_is_refused_under_another_key() -> None:
    for keys in (Encryptor(b"o" * 40).message_keys, Encryptor(b"k" * 40).queue_keys):
        with pytest.raises(RefusedMessage):
            MessageDecryptor(keys).decrypt("a", encrypted())


@given(st.data())
def test_message_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    message = bytearray(encrypted())
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] ^= data.draw(st.integers(1, 255))
    decryptor = MessageDecryptor(KEYS)
    with pytest.raises(RefusedMessage):
        decryptor.decrypt("a", bytes(message))
    assert not decryptor._senders, "whoever forges messages fills no memory"


@given(st.binary())
def test_any_bytes_are_refused(data: bytes) -> None:
    for message in (data, encrypted()[: len(data)][:-1], b"x" + data + encrypted()):
        with pytest.raises(RefusedMessage):
            MessageDecryptor(KEYS).decrypt("a", message)


def test_key_that_was_replaced_is_still_understood() -> None:
    changed = Encryptor(b"n" * 40, b"k" * 40).message_keys
    decryptor, old, new = (
        MessageDecryptor(changed),
        MessageEncryptor(KEYS),
        MessageEncryptor(changed),
    )
    for _ in range(2):
        assert decryptor.decrypt("a", old.encrypt("a", b"old")) == b"old"
        assert decryptor.decrypt("a", new.encrypt("a", b"new")) == b"new"
    with pytest.raises(RefusedMessage):
        MessageDecryptor(KEYS).decrypt("a", new.encrypt("a", b"new"))


@pytest.mark.parametrize("seconds", [MAX_AGE_SECONDS + 5, -MAX_AGE_SECONDS - 5])
def test_message_of_another_time_is_refused_even_by_a_new_process(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, now = encrypted(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)
    with pytest.raises(RefusedMessage, match="the clocks of the machines differ"):
        MessageDecryptor(KEYS).decrypt("a", message)


@pytest.mark.parametrize("seconds", [MAX_AGE_SECONDS - 30, 30 - MAX_AGE_SECONDS])
def test_clocks_may_differ_by_minutes(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    message, now = encrypted(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)
    assert MessageDecryptor(KEYS).decrypt("a", message) == CONTENT


def test_messages_may_overtake_each_other() -> None:
    encryptor, decryptor = MessageEncryptor(KEYS), MessageDecryptor(KEYS)
    messages = [encryptor.encrypt("a", b"%d" % number) for number in range(WINDOW + 2)]
    assert decryptor.decrypt("a", messages[-2]) == b"%d" % WINDOW
    assert decryptor.decrypt("a", messages[1]) == b"1", "overtaken by as many as the window holds"
    assert decryptor.decrypt("a", messages[-1]) == b"%d" % (WINDOW + 1)
    for number in (0, 1, WINDOW, WINDOW + 1):
        with pytest.raises(RefusedMessage):
            decryptor.decrypt("a", messages[number])
    assert {decryptor.decrypt("a", each) for each in reversed(messages[2:-2])} == {
        b"%d" % number for number in range(2, WINDOW)
    }


def test_sender_is_forgotten_only_when_its_messages_are_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decryptor, early, now = MessageDecryptor(KEYS), encrypted(), time.time()
    decryptor.decrypt("a", early)
    past = 2 * MAX_AGE_SECONDS + 1
    monotonic = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: monotonic + past)
    monkeypatch.setattr(time, "time", lambda: now + past)
    decryptor.decrypt("a", encrypted())
    assert len(decryptor._senders) == 1
    with pytest.raises(RefusedMessage):
        decryptor.decrypt("a", early)


def test_no_two_messages_share_key_and_nonce() -> None:
    encryptor = MessageEncryptor(KEYS)
    messages: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: messages.extend(encryptor.encrypt("a", b"") for _ in range(500))
        )
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    messages += [encrypted() for _ in range(100)]
    headers = {message[: message_encryption._HEADER.size] for message in messages}
    assert len(headers) == len(messages) == 2100
