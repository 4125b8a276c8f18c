"""Signed messages: for one queue, by a key of the service."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resop.security.encryption import Encryptor
from resop.security.message_encryption import RefusedMessage
from resop.security.message_signing import MessageSigner

SIGNER = MessageSigner(Encryptor(b"k" * 40).queue_keys)


@given(st.binary())
def test_message_is_accepted_as_it_was_signed(content: bytes) -> None:
    assert SIGNER.check("cluster.hpc", SIGNER.sign("cluster.hpc", content)) == content


@pytest.mark.parametrize("queue", ["cluster.hpc2", "cluster.hp", "worker.hpc", ""])
def test_message_is_refused_in_another_queue(queue: str) -> None:
    signed = SIGNER.sign("cluster.hpc", b"{}")
    with pytest.raises(RefusedMessage, match="to this queue"):
        SIGNER.check(queue, signed)


@given(st.data())
def test_message_that_was_changed_is_refused(data: st.DataObject) -> None:
    signed = bytearray(SIGNER.sign("q", b'["0815"]'))
    place = data.draw(st.integers(0, len(signed) - 1))
    signed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RefusedMessage):
        SIGNER.check("q", bytes(signed))


@given(st.binary())
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RefusedMessage):
        SIGNER.check("q", data)


def test_key_that_was_replaced_still_checks_but_no_longer_signs() -> None:
    changed = MessageSigner(Encryptor(b"n" * 40, b"k" * 40).queue_keys)
    assert changed.check("q", SIGNER.sign("q", b"x")) == b"x"
    with pytest.raises(RefusedMessage):
        SIGNER.check("q", changed.sign("q", b"x"))


def test_key_of_the_messages_signs_no_queue() -> None:
    keys = Encryptor(b"k" * 40)
    assert not set(keys.queue_keys) & set(keys.message_keys)
